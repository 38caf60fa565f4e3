//! Cuts a text into the JSON objects that stand in it, one after the other, each as soon as it is complete.
//! Arrays and lists are opened: what stands in them is taken one by one, so that no list is ever held whole.

use std::io::BufRead;

use memchr::memchr3;
use serde::de::IgnoredAny;
use untrusted::one_line;

use super::{
    RecordingError,
    shape::ObjectType,
    text::{RecordedText, TextPlace},
};

/// How much is shown of what is no JSON.
const MAX_SHOWN_BYTES: usize = 20;
/// How large an object may be. In etcd it is at most 1.5 MiB, in JSON at most six times that.
const MAX_OBJECT_BYTES: usize = 16 * 1024 * 1024;
/// How many lists may stand within each other.
const MAX_OPEN_LISTS: usize = 16;

/// A JSON object, and where in the input it begins.
pub(super) struct RecordedValue {
    pub json: String,
    pub begins: TextPlace,
    /// What the list that it stands in says of its items before the first of them.
    pub listed_as: Option<ObjectType>,
    /// Whether it stands in the items of a list.
    pub is_item: bool,
}

impl RecordedValue {
    /// Returns the error of a part of it, with its place in the input.
    pub(super) fn malformed(&self, part: &str, error: &serde_json::Error) -> RecordingError {
        let before = part.as_ptr().addr().saturating_sub(self.json.as_ptr().addr());
        let mut place = self.begins;
        place.pass(self.json.as_bytes().get(..before).unwrap_or_default());
        place.malformed(error)
    }
}

/// The input, of which one object after the other is taken. It is of no use after an error.
pub(super) struct RecordedValues<R> {
    text: RecordedText<R>,
    open: Vec<OpenList>,
}

/// An array, or the items of a list, that are being taken.
struct OpenList {
    begins: TextPlace,
    /// All of a list that stands before its items.
    head: Option<Vec<u8>>,
    items_are: Option<ObjectType>,
    next: ListPart,
}

/// What comes next in a list.
#[derive(Clone, Copy)]
enum ListPart {
    ItemOrEnd,
    Item,
    CommaOrEnd,
}

/// Where in an object the bytes taken so far end.
#[derive(Default)]
struct ObjectScanner {
    depth: usize,
    is_in_string: bool,
    is_escaped: bool,
}

/// Why a scanner stops after a byte.
#[derive(Clone, Copy, PartialEq, Eq)]
enum ScanStop {
    ObjectEnds,
    /// An array begins that is the value of a key of the object itself.
    ArrayBegins,
    /// A line ends within a string, which doesn't happen in JSON.
    StringBreaks,
}

impl<R: BufRead> RecordedValues<R> {
    pub(super) fn new(input: R) -> Self {
        Self { text: RecordedText::new(input), open: Vec::new() }
    }

    /// Returns the next object without waiting for what follows it; nothing at the end of the input.
    pub(super) fn next_value(&mut self) -> Result<Option<RecordedValue>, RecordingError> {
        loop {
            let first = self.skip_space()?;
            let begins = self.text.place();
            let Some(first) = first else {
                let unfinished = self.open.first();
                return unfinished.map_or(Ok(None), |list| Err(list.begins.unfinished()));
            };
            match (self.open.last().map(|list| list.next), first) {
                (Some(ListPart::ItemOrEnd | ListPart::CommaOrEnd), b']') => self.close_list()?,
                (Some(ListPart::CommaOrEnd), b',') => {
                    self.text.take(1)?;
                    self.expect(ListPart::Item);
                }
                (Some(ListPart::CommaOrEnd), _) => {
                    return Err(begins.wrong("expected `,` or `]` after what stands before in this list"));
                }
                (_, b'[') => {
                    self.text.take(1)?;
                    self.open_list(begins, None)?;
                }
                (_, b'{') => {
                    if let Some(json) = self.take_object(begins)? {
                        let listed_as = self.open.last().and_then(|list| list.items_are.clone());
                        let is_item = self.open.last().is_some_and(|list| list.head.is_some());
                        self.expect(ListPart::CommaOrEnd);
                        return Ok(Some(RecordedValue { json, begins, listed_as, is_item }));
                    }
                }
                _ => return Err(self.no_object(begins)?),
            }
        }
    }

    /// Takes an object. Returns nothing if it is a list, which is open then.
    fn take_object(&mut self, begins: TextPlace) -> Result<Option<String>, RecordingError> {
        let (mut json, mut scanner) = (Vec::new(), ObjectScanner::default());
        while self.scan(begins, &mut json, &mut scanner)? != ScanStop::ObjectEnds {
            if ends_with_key_of_items(&json) {
                json.pop();
                self.open_list(begins, Some(json))?;
                return Ok(None);
            }
        }
        let text = String::from_utf8(json);
        text.map(Some).map_err(|_| begins.wrong("this text is neither UTF-8 nor UTF-16"))
    }

    fn open_list(&mut self, begins: TextPlace, head: Option<Vec<u8>>) -> Result<(), RecordingError> {
        if self.open.len() == MAX_OPEN_LISTS {
            return Err(begins.wrong(&format!("this list stands within {MAX_OPEN_LISTS} others")));
        }
        let items_are = match &head {
            Some(head) => {
                serde_json::from_slice(&[head, &b"null}"[..]].concat()).ok().and_then(ObjectType::of_items)
            }
            None => self.open.last().and_then(|list| list.items_are.clone()),
        };
        self.open.push(OpenList { begins, head, items_are, next: ListPart::ItemOrEnd });
        Ok(())
    }

    /// Takes the end of a list, with all that stands in it after its items.
    fn close_list(&mut self) -> Result<(), RecordingError> {
        self.text.take(1)?;
        if let Some(OpenList { begins, head: Some(mut json), .. }) = self.open.pop() {
            json.extend_from_slice(b"null");
            let mut scanner = ObjectScanner { depth: 1, ..ObjectScanner::default() };
            while self.scan(begins, &mut json, &mut scanner)? != ScanStop::ObjectEnds {}
            serde_json::from_slice::<IgnoredAny>(&json).map_err(|error| {
                self.text.place().wrong(&format!("the list that ends here is no JSON: {error}"))
            })?;
        }
        self.expect(ListPart::CommaOrEnd);
        Ok(())
    }

    /// Takes the object on which the scanner is up to where it stops.
    fn scan(
        &mut self,
        begins: TextPlace,
        json: &mut Vec<u8>,
        scanner: &mut ObjectScanner,
    ) -> Result<ScanStop, RecordingError> {
        loop {
            let bytes = self.text.fill()?;
            let (passed, stop) = scanner.scan(bytes);
            json.extend_from_slice(&bytes[..passed]);
            self.text.take(passed)?;
            match stop {
                Some(stop @ (ScanStop::ObjectEnds | ScanStop::ArrayBegins)) => return Ok(stop),
                Some(ScanStop::StringBreaks) => return Err(broken(json, begins, begins.unfinished())),
                None if passed == 0 => return Err(broken(json, begins, begins.unfinished())),
                None if json.len() > MAX_OBJECT_BYTES => {
                    let reason =
                        format!("the object that begins here is longer than {MAX_OBJECT_BYTES} bytes");
                    return Err(broken(json, begins, begins.wrong(&reason)));
                }
                None => {}
            }
        }
    }

    /// Says what comes next in the list that is open, if one is.
    fn expect(&mut self, next: ListPart) {
        if let Some(list) = self.open.last_mut() {
            list.next = next;
        }
    }

    /// Passes over white space and byte order marks. Returns the byte after them, which isn't taken.
    fn skip_space(&mut self) -> Result<Option<u8>, RecordingError> {
        let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | 0xEF | 0xBB | 0xBF);
        loop {
            let bytes = self.text.fill()?;
            let first = bytes.iter().find(|byte| !is_space(byte)).copied();
            let spaces = bytes.iter().take_while(|byte| is_space(byte)).count();
            self.text.take(spaces)?;
            if first.is_some() || spaces == 0 {
                return Ok(first);
            }
        }
    }

    /// Returns the error of what stands here, which is no object.
    fn no_object(&mut self, begins: TextPlace) -> Result<RecordingError, RecordingError> {
        let mut word = Vec::new();
        let mut ends = false;
        while !ends && word.len() < MAX_SHOWN_BYTES {
            let is_in_list = !self.open.is_empty();
            let Some(byte) = self.text.fill()?.first().copied() else { break };
            let is_mark = is_in_list && !word.is_empty() && matches!(byte, b',' | b']');
            ends = byte.is_ascii_whitespace() || is_mark;
            if !ends {
                word.push(byte);
                self.text.take(1)?;
            }
        }
        if word.contains(&0) {
            return Ok(begins.wrong("this text is neither UTF-8 nor UTF-16"));
        }
        if word.starts_with(b"\"") {
            return Ok(begins.wrong("this is a string, where an object was expected"));
        }
        Ok(match serde_json::from_slice::<ObjectType>(&word) {
            Err(error) if error.is_data() => begins.malformed(&error),
            _ => {
                let begins_with = one_line(&String::from_utf8_lossy(&word));
                RecordingError::NoJson { line: begins.line, begins_with }
            }
        })
    }
}

impl ObjectScanner {
    /// Passes over these bytes, up to and with the first after which it stops. Returns how many that are.
    fn scan(&mut self, bytes: &[u8]) -> (usize, Option<ScanStop>) {
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            if std::mem::take(&mut self.is_escaped) {
                at += 1;
                continue;
            }
            if self.is_in_string {
                let Some(found) = memchr3(b'"', b'\\', b'\n', &bytes[at..]) else { break };
                at += found + 1;
                match bytes[at - 1] {
                    b'"' => self.is_in_string = false,
                    b'\\' => self.is_escaped = true,
                    _ => return (at, Some(ScanStop::StringBreaks)),
                }
                continue;
            }
            at += 1;
            match byte {
                b'"' => self.is_in_string = true,
                b'{' => self.depth += 1,
                b'[' => {
                    self.depth += 1;
                    if self.depth == 2 {
                        return (at, Some(ScanStop::ArrayBegins));
                    }
                }
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at, Some(ScanStop::ObjectEnds));
                    }
                }
                _ => {}
            }
        }
        (bytes.len(), None)
    }
}

/// Returns whether the array that begins with the last byte is the value of the object's key `items`.
fn ends_with_key_of_items(json: &[u8]) -> bool {
    let key = json.strip_suffix(b"[").and_then(|json| json.trim_ascii_end().strip_suffix(b":"));
    let before = key.and_then(|json| json.trim_ascii_end().strip_suffix(br#""items""#));
    before.is_some_and(|before| matches!(before.trim_ascii_end().last(), Some(b'{' | b',')))
}

/// Returns the error of an object that doesn't end: where its JSON is wrong, if it is.
fn broken(json: &[u8], begins: TextPlace, otherwise: RecordingError) -> RecordingError {
    match serde_json::from_slice::<IgnoredAny>(json) {
        Err(error) if !error.is_eof() => {
            // Within an object every line is indented: one that isn't begins the next.
            let line = json.split(|byte| *byte == b'\n').nth(error.line().saturating_sub(1));
            let begins_anew =
                error.line() > 1 && error.column() == 1 && line.is_some_and(|line| line.starts_with(b"{"));
            if begins_anew { begins.unfinished() } else { begins.malformed(&error) }
        }
        _ => otherwise,
    }
}
