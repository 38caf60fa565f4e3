use std::iter;

use serde_json::json;

use super::*;

const POD: &str =
    r#"{"type":"ADDED","object":{"kind":"Pod","metadata":{"name":"p","namespace":"n","uid":"u"}}}"#;

fn all(text: &str) -> Vec<Result<Recorded, RecordingError>> {
    read(text.as_bytes()).collect()
}

/// How many observations there are, all of which can be read.
#[track_caller]
fn count(input: impl AsRef<[u8]>) -> usize {
    read(input.as_ref()).map(Result::unwrap).count()
}

fn pretty(json: &str) -> String {
    serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(json).unwrap()).unwrap()
}

fn utf16(text: &str, bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    iter::once(0xFEFF).chain(text.encode_utf16()).flat_map(bytes).collect()
}

#[test]
fn pretty_printed_and_one_a_line_read_the_same() {
    assert_eq!(count(format!("{POD}\n\n{}\n{POD}{POD}", pretty(POD))), 4);
}

#[test]
fn a_list_in_a_change_is_that_change_of_each_item() {
    let pod = |name| json!({"metadata": {"name": name, "namespace": "n", "uid": name}});
    let list = |items| json!({"type": "ADDED", "receivedAt": "2026-03-01T12:00:00Z", "object": {"kind": "PodList", "apiVersion": "v1", "items": items}});
    let text = format!("{}\n{}{POD}", list(json!([pod("a"), pod("b"), pod("c")])), list(json!([])));
    let recorded: Vec<_> = all(&text).into_iter().map(Result::unwrap).collect();
    assert_eq!(recorded.len(), 4);
    assert_eq!(recorded.iter().filter(|(_, at)| at.is_some()).count(), 3);
    let wrong = all(&list(json!([pod("a"), {"metadata": 5}])).to_string());
    assert!(matches!(wrong.as_slice(), [Err(RecordingError::Malformed { line: 1, .. })]), "{wrong:?}");
}

#[test]
fn every_encoding_that_a_shell_writes_is_read() {
    let text = format!("{}\r\n", pretty(&POD.replace("uid\":\"u", "uid\":\"😀")).replace('\n', "\r\n"));
    let unmarked = |text: &str, bytes: fn(u16) -> [u8; 2]| utf16(text, bytes)[2..].to_vec();
    for encoded in [
        unmarked(&text, u16::to_le_bytes),
        unmarked(&text, u16::to_be_bytes),
        text.clone().into_bytes(),
        format!("\u{feff}{text}").into_bytes(),
        utf16(&text, u16::to_le_bytes),
        utf16(&text, u16::to_be_bytes),
    ] {
        let (read, _) = read(&*encoded.repeat(2)).next().unwrap().unwrap();
        assert!(matches!(read, Observation::Changed(_, pod) if pod.metadata.uid == "😀"));
        assert_eq!(count(encoded.repeat(2)), 2);
    }
}

#[test]
fn an_object_is_its_newest_state_wherever_it_stands() {
    let change: serde_json::Value = serde_json::from_str(POD).unwrap();
    let pod = change["object"].to_string();
    let bare = r#"{"metadata":{"name":"p","namespace":"n","uid":"u"},"status":{}}"#;
    let told = r#"{"metadata":{"name":"p","namespace":"n","uid":"u"},"spec":{"containers":[]}}"#;
    let list = |kind: &str, item: &str| format!(r#"{{"items":[{item},{item}],"kind":"{kind}"}}"#);
    let raw = |kind: &str, item: &str| format!(r#"{{"kind":"{kind}","items":[{item},{item}]}}"#);
    for (text, observations) in [
        (pod.clone(), 1),
        (format!("{pod}\n{}\n{POD}", pretty(&pod)), 3),
        (list("List", &pod), 2),
        (list("List", &list("List", &pod)), 4),
        (raw("PodList", bare), 2),
        (pretty(&raw("PodList", told)), 2),
        (list("PodList", told), 2),
        (list("List", told), 2),
        (told.repeat(2), 2),
        (list("List", bare), 0),
        (list("PodMetricsList", bare), 0),
        (raw("PodMetricsList", told), 0),
        (raw("PodList", told).replacen('{', r#"{"apiVersion":"example/v1","#, 1), 0),
        (list("List", POD), 2),
        (raw("List", POD), 2),
        (list("List", &list("List", POD)), 4),
        (pretty(&format!("[{POD},[{pod}],{}]", raw("PodList", told))), 4),
        (r#"{"kind":"List","items":null}"#.to_owned(), 0),
        (r#"{"kind":"List","items":[]}"#.to_owned(), 0),
        (r#"{"items" : [ ] , "kind":"List","metadata":{"a":[1]},"more":[{}]}"#.to_owned(), 0),
        ("[]".to_owned(), 0),
        (String::new(), 0),
    ] {
        assert_eq!(count(&text), observations, "{text}");
    }
}

#[test]
fn events_of_both_groups_tell_the_same() {
    let (core, newer) = (
        r#"{"apiVersion":"v1","kind":"Event","reason":"Started","message":"Started container",
            "involvedObject":{"kind":"Pod","namespace":"n","name":"p","uid":"u","fieldPath":"spec.containers{c}"},
            "lastTimestamp":"2026-05-01T12:00:00Z","eventTime":null,"series":null,"metadata":{"namespace":"n"}}"#,
        r#"{"apiVersion":"events.k8s.io/v1","kind":"Event","reason":"Started","note":"Started container",
            "regarding":{"kind":"Pod","namespace":"n","name":"p","uid":"u","fieldPath":"spec.containers{c}"},
            "deprecatedLastTimestamp":"2026-05-01T12:00:00Z","eventTime":null,"metadata":{"namespace":"n"}}"#,
    );
    let started = |text: &str| match all(text).remove(0).unwrap() {
        (Observation::Started(started), None) => started,
        other => panic!("{other:?}"),
    };
    assert_eq!(started(core), started(newer));
    assert_eq!(count(core.replace("\"v1\"", "\"eventing.example/v1\"")), 0);
}

#[test]
fn a_finding_need_not_wait_for_what_follows() {
    struct OpenPipe<'a>(&'a [u8]);
    impl io::Read for OpenPipe<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            assert!(!self.0.is_empty(), "it waits for more");
            self.0.read(buffer)
        }
    }
    let pretty = pretty(POD);
    let mut recorded = read(io::BufReader::with_capacity(7, OpenPipe(pretty.as_bytes())));
    assert!(recorded.next().unwrap().is_ok());
}

#[test]
fn a_broken_line_is_named_and_ends_the_reading() {
    let pretty = "{\n \"type\": \"ADDED\",\n \"object\": {\"kind\":\"Pod\",\n \"metadata\": 5}\n}";
    for (text, place) in [
        (format!("{POD}\n\nnonsense\n{POD}"), "line 3: this is no JSON but begins with `nonsense`"),
        (format!("{POD}\nNAME  READY\n"), "line 2: this is no JSON but begins with `NAME`"),
        (format!("{POD}\n{{\"type\":\"ADDED\"}}\n{POD}"), "line 2: missing field `object` (column 16)"),
        (format!("{POD}\n{{\"type\":\"GONE\",\"object\":{{}}}}\n"), "line 2: unknown variant `GONE`"),
        (format!("{POD}\n{{}}\n"), "line 2: missing field `type` (column 2)"),
        (format!("{POD}\n{pretty}"), "line 5: invalid type: integer `5`"),
        (format!("{POD} {pretty}"), "line 4: invalid type: integer `5`"),
        (format!("{POD}\n[\n{POD},\n5]"), "line 4: invalid type: integer `5`, expected an object (column 1)"),
        (format!("{POD}\n{}", &POD[..50]), "line 2: the object that begins here has no end"),
        (format!("{POD}\n{}\n{POD}", &POD[..8]), "line 2: the object that begins here has no end"),
        (format!("{POD}\n{{\n1"), "line 3: key must be a string (column 1)"),
        (format!("{POD}\nnull\n"), "line 2: invalid type: null, expected an object"),
        (format!("{POD}\n 17"), "line 2: invalid type: integer `17`, expected an object"),
        (format!("{POD}\n\"a word\""), "line 2: this is a string, where an object was expected"),
        (format!("[{POD},\n]"), "line 2: this is no JSON but begins with `]`"),
        (format!("[{POD}\n{POD}]"), "line 2: expected `,` or `]`"),
        (format!("[{POD}\n\n"), "line 1: the object that begins here has no end"),
        (format!("{{\"items\":[{POD}],\n\"kind\":}}"), "line 2: the list that ends here is no JSON"),
        (format!("{{\"items\":[{POD}],\n\"kind\""), "line 1: the object that begins here has no end"),
        ("\n\n\u{0}\u{0}".to_owned(), "line 3: this text is neither UTF-8 nor UTF-16"),
        (format!("{POD}\n{}", "[".repeat(17)), "line 2: this list stands within 16 others"),
        (format!("{POD}\n{}", "[".repeat(1 << 20)), "line 2: this list stands within 16 others"),
    ] {
        let read = all(&text);
        assert_eq!(read.iter().position(Result::is_err), Some(read.len() - 1), "{text}");
        let error = read.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.starts_with(place), "{error}");
    }
}

#[test]
fn what_cannot_be_decoded_is_named() {
    let mut half = utf16(&format!("{POD}\n"), u16::to_le_bytes);
    half.push(b' ');
    let mut latin = POD.as_bytes().to_vec();
    latin.extend(b"\n{\"kind\":\"\xFC\"}");
    for (input, read_before, expected) in [
        (half, 1, "line 2: can't read on"),
        (latin, 1, "line 2: this text is neither UTF-8 nor UTF-16"),
        (
            format!("{{\"kind\":\"{}", "x".repeat(17 << 20)).into_bytes(),
            0,
            "line 1: the object that begins here is longer",
        ),
    ] {
        let read: Vec<_> = read(&*input).collect();
        assert_eq!(read.len(), read_before + 1, "{expected}");
        let error = read.last().unwrap().as_ref().unwrap_err().to_string();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn the_items_of_a_list_are_read_before_its_end() {
    struct EndlessList(usize);
    impl io::Read for EndlessList {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let text =
                if self.0 == 0 { r#"{"apiVersion":"v1","items":["#.to_owned() } else { format!("{POD},") };
            self.0 += 1;
            (&*text.into_bytes()).read(buffer)
        }
    }
    let list = io::BufReader::with_capacity(1 << 12, EndlessList(0));
    assert_eq!(read(list).take(1000).map(Result::unwrap).count(), 1000);
}

#[test]
fn the_line_at_the_end_says_what_stood_there() {
    let summary = |text: &str| {
        let mut recording = read(text.as_bytes());
        recording.by_ref().for_each(|recorded| drop(recorded.unwrap()));
        recording.contents().summary(1)
    };
    let forbidden = r#"{"kind":"Status","apiVersion":"v1","message":"pods is\nforbidden","code":403}"#;
    let bookmark = r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{}}}"#;
    for (text, expected) in [
        (POD.to_owned(), "1 object, 1 kill".to_owned()),
        (format!("{POD}{bookmark}{forbidden}"), "2 objects, 1 kill".to_owned()),
        (bookmark.to_owned(), format!("nothing to read. {EXPECTED}")),
        (
            forbidden.to_owned(),
            format!("1 object, but no Pod or Event: 1 of kind Status (“pods is forbidden”). {EXPECTED}"),
        ),
        (
            r#"{"kind":"DeploymentList","items":[{},{}]}{"kind":"List","items":[{}]}"#.to_owned(),
            format!("3 objects, but no Pod or Event: 2 of kind Deployment, 1 without a kind. {EXPECTED}"),
        ),
    ] {
        assert_eq!(summary(&text), expected);
    }
}

#[test]
fn what_is_no_pod_or_start_is_passed_over() {
    let lines = [
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"5"}}}"#,
        r#"{"type":"ERROR","object":{"kind":"Status","code":410}}"#,
        r#"{"type":"ADDED","object":{"kind":"Node"}}"#,
        r#"{"type":"DELETED","object":{"kind":"Event","reason":"Started"}}"#,
        r#"{"type":"ADDED","object":{"kind":"Event","reason":"Pulled","involvedObject":{"kind":"Pod"}}}"#,
        r#"{"kind":"Secret","type":"Opaque"}"#,
        r#"{"kind":"AllowList","items":{}}"#,
        r#"{"kind":"Pod","apiVersion":"example/v1"}"#,
    ];
    assert_eq!(count(lines.join("\n")), 0);
}
