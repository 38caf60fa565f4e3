use futures::StreamExt;
use tokio_util::bytes::Bytes;

use super::*;
use crate::source::answer::ByteBudget;

/// A page that comes in pieces of this size.
fn page(encoding: AnswerEncoding, bytes: &[u8], piece: usize) -> PageItems {
    let pieces: Vec<_> = bytes.chunks(piece).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    PageItems::new(AnswerBytes::new(futures::stream::iter(pieces).boxed(), ByteBudget::new()), encoding)
}

/// The objects of a page, with their number for one that is too long; and the end.
async fn read(mut page: PageItems) -> Result<(Vec<String>, PageEnd), PageError> {
    let mut items = Vec::new();
    loop {
        match page.next().await? {
            PagePart::Item(item) => items.push(String::from_utf8(item.to_vec()).unwrap()),
            PagePart::LongItem => items.push("too long".to_owned()),
            PagePart::End(end) => return Ok((items, end)),
        }
    }
}

async fn in_json(page_of: &str) -> Result<(Vec<String>, PageEnd), PageError> {
    read(page(AnswerEncoding::Json, page_of.as_bytes(), 7)).await
}

/// A field of Protobuf.
fn field(number: u8, value: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = value.len();
    while length > 127 {
        field.push(u8::try_from(length & 127).unwrap() | 128);
        length >>= 7;
    }
    field.push(u8::try_from(length).unwrap());
    [&field, value].concat()
}

fn envelope(kind: &str, object: &[u8]) -> Vec<u8> {
    let type_meta = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [&b"k8s\0"[..], &field(1, &type_meta), &field(2, object), &field(3, b""), &field(4, b"")].concat()
}

fn list(metadata: &[u8], items: &[&[u8]]) -> Vec<u8> {
    let items: Vec<u8> = items.iter().flat_map(|item| field(2, item)).collect();
    envelope("PodList", &[field(1, metadata), items].concat())
}

fn end(version: &str, next: Option<&str>) -> PageEnd {
    PageEnd { version: version.to_owned(), next: next.map(str::to_owned) }
}

#[tokio::test]
async fn items_are_read_however_the_page_is_cut() {
    let items = [r#"{"a":"]}\"[{\\","b":[[{}]]}"#, "{}", r#"{"metadata":{"items":[{}]}}"#];
    let json = format!(
        r#" {{"kind":"PodList", "items" : [ {} ] , "metadata":{{"resourceVersion":"7","continue":"c"}}}} "#,
        items.join(" ,\n")
    );
    let long = "x".repeat(300);
    let protobuf_items = [b"one".as_slice(), b"", long.as_bytes()];
    let protobuf = list(&[field(2, b"7"), field(3, b"c")].concat(), &protobuf_items);
    let expected = protobuf_items.map(|item| String::from_utf8(item.to_vec()).unwrap());
    for piece in 1..protobuf.len() {
        let (read_items, page_end) = read(page(AnswerEncoding::Json, json.as_bytes(), piece)).await.unwrap();
        assert_eq!((read_items.as_slice(), page_end), (&items.map(str::to_owned)[..], end("7", Some("c"))));
        let (read_items, page_end) = read(page(AnswerEncoding::Protobuf, &protobuf, piece)).await.unwrap();
        assert_eq!((read_items.as_slice(), page_end), (&expected[..], end("7", Some("c"))));
    }
}

#[tokio::test]
async fn what_is_no_list_is_not_taken_for_an_empty_one() {
    for answer in [
        "{}",
        "[]",
        "null",
        "",
        "<!doctype html><html>Log in</html>",
        r#"{"items": []}"#,
        r#"{"metadata": {}, "items": []}"#,
        r#"{"kind": "Status", "metadata": {"resourceVersion": ""}}"#,
        r#"{"metadata": {"resourceVersion": "7"}, "items": ["#,
    ] {
        assert!(matches!(in_json(answer).await, Err(PageError::NoList(_))), "{answer}");
    }
    let status = envelope("Status", &[field(1, b""), field(2, b"Success")].concat());
    for answer in [
        &status[..],
        &list(b"", &[]),
        &envelope("PodList", b""),
        b"<html>",
        b"k8s\0\x0b",
        b"k8s\0\x12\x01\x0a",
    ] {
        assert!(read(page(AnswerEncoding::Protobuf, answer, 3)).await.is_err(), "{answer:?}");
    }
}

#[tokio::test]
async fn a_page_that_breaks_off_has_no_end() {
    let json = br#"{"metadata":{"resourceVersion":"7"},"items":[{"a":1},{"b":2}]}"#;
    let protobuf = list(&field(2, b"7"), &[b"one", b"two"]);
    for (encoding, whole) in
        [(AnswerEncoding::Json, &json[..]), (AnswerEncoding::Protobuf, &protobuf[..protobuf.len() - 4])]
    {
        assert!(read(page(encoding, whole, 5)).await.is_ok());
        for cut in 1..whole.len() {
            assert!(read(page(encoding, &whole[..cut], 5)).await.is_err(), "{encoding:?} after {cut} bytes");
        }
    }
}

#[tokio::test]
async fn go_writes_an_empty_list_as_null() {
    let read = in_json(r#"{"metadata": {"resourceVersion": "7", "continue": ""}, "items": null}"#).await;
    assert_eq!(read.unwrap(), (Vec::new(), end("7", None)));
}

#[tokio::test]
async fn an_item_that_is_too_long_is_passed_over() {
    const PIECE: usize = 1024 * 1024;
    let long = "x".repeat(17 * PIECE);
    let json = format!(r#"{{"metadata":{{"resourceVersion":"7"}},"items":[{{"a":"{long}"}},{{}}]}}"#);
    let protobuf = list(&field(2, b"7"), &[long.as_bytes(), b"{}"]);
    for (encoding, bytes) in [(AnswerEncoding::Json, json.as_bytes()), (AnswerEncoding::Protobuf, &protobuf)]
    {
        let (items, _) = read(page(encoding, bytes, PIECE)).await.unwrap();
        assert_eq!(items, ["too long", "{}"]);
    }
}

#[tokio::test(start_paused = true)]
async fn all_answers_together_gather_no_more_than_one_object() {
    const PIECE: usize = 1024 * 1024;
    let budget = ByteBudget::new();
    let large = "x".repeat(12 * PIECE);
    let protobuf = list(&field(2, b"7"), &[large.as_bytes()]);
    let begin = |last: usize| {
        let pieces: Vec<_> =
            protobuf[..last].chunks(PIECE).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let pieces = futures::stream::iter(pieces).chain(futures::stream::pending());
        PageItems::new(AnswerBytes::new(pieces.boxed(), budget.clone()), AnswerEncoding::Protobuf)
    };
    let mut first = begin(protobuf.len() - PIECE);
    let mut second = begin(protobuf.len());
    let second_alone = Duration::from_secs(1);
    tokio::select! {
        biased;
        _ = first.next() => panic!("it isn't whole"),
        _ = second.next() => panic!("the first has the budget"),
        () = tokio::time::sleep(second_alone) => {}
    }
    drop(first);
    let mut second = begin(protobuf.len());
    assert!(matches!(second.next().await.unwrap(), PagePart::Item(item) if item.len() == large.len()));
}
