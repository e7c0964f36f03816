//! What holds for any bytes. `httparse`, which the proxied part reads with, is the second opinion.

use super::*;
use proptest::prelude::*;

/// Of what [`forward`] adds, and a few more.
const FIELDS_ADDED_MAX: usize = 8;

/// Panics unless everything holds of these bytes; says whether they are a whole head.
pub fn hold(bytes: &[u8]) -> bool {
    let whole = head(bytes, MAX);
    for cut in 0..=bytes.len() {
        match (head(&bytes[..cut], MAX), &whole) {
            (Ok(Progress::Incomplete), _) => {}
            (Ok(Progress::Complete(head)), Ok(Progress::Complete(whole))) => assert!(head == *whole && cut >= head.len),
            (Err(error), Err(whole)) => assert_eq!(error, *whole),
            (cut, whole) => panic!("cut: {cut:?}, whole: {whole:?}"),
        }
    }
    let Ok(Progress::Complete(head)) = whole else { return false };
    same_as_httparse(&head, &bytes[..head.len]);
    for trust_forwarded in [false, true] {
        let (client, vip) = ("[2001:db8::7]:5".parse().unwrap(), "10.0.0.1:80".parse().unwrap());
        forwards(&head, &Via { client, tls: true, vip, trust_forwarded });
    }
    true
}

fn same_as_httparse(head: &Head, bytes: &[u8]) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX + FIELDS_ADDED_MAX];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(bytes), Ok(httparse::Status::Complete(bytes.len())));
    assert_eq!(other.method, Some(head.method_name()));
    assert_eq!(other.version, Some(u8::from(head.version == Version::Http11)));
    let theirs: Vec<_> = other.headers.iter().map(|field| (field.name.as_bytes(), field.value)).collect();
    assert_eq!(theirs, head.fields().collect::<Vec<_>>());
    http::Method::from_bytes(head.method_name().as_bytes()).expect("a method that the proxied part takes too");
    for (name, value) in head.fields() {
        http::HeaderName::from_bytes(name).expect("a name that the proxied part takes too");
        http::HeaderValue::from_bytes(value).expect("a value that the proxied part takes too");
    }
    let target: http::Uri = other.path.unwrap().parse().expect("a target that the proxied part takes too");
    assert_eq!((target.path(), target.query()), (head.path(), head.query()));
    assert!(target.authority().is_none_or(|authority| authority.as_str() == head.host()));
}

/// The origin reads of the forwarded head what we read of the client's.
fn forwards(head: &Head, via: &Via) {
    let bytes = forward(head, via);
    same_target(head, &bytes);
    if head.fields().count() + FIELDS_ADDED_MAX > FIELDS_MAX {
        return;
    }
    let sent = match super::head(&bytes, 2 * MAX) {
        Ok(Progress::Complete(sent)) => sent,
        other => panic!("forwarded, but {other:?}"),
    };
    assert_eq!(sent.len, bytes.len());
    same_as_httparse(&sent, &bytes);
    assert_eq!((sent.method_name(), sent.version), (head.method_name(), head.version));
    assert_eq!((sent.path(), sent.query(), sent.host()), (head.path(), head.query(), head.host()));
    assert_eq!((sent.body, sent.wants_upgrade()), (head.body, head.wants_upgrade()));
    assert_eq!(sent.keep_alive, head.wants_upgrade());
    assert_eq!(sent.headers("connection").count(), 1);
    assert_eq!(FORWARDED.map(|name| sent.headers(name).count()), [1; 4]);
    let of_message = ["content-length", "transfer-encoding", "range", "x"];
    for name in of_message.iter().filter(|name| !(**name == "x" && names_x(head))) {
        assert!(sent.headers(name).eq(head.headers(name)), "{name}");
    }
    assert_eq!(intent(&sent, |_| false), intent(head, |_| false));
}

fn names_x(head: &Head) -> bool {
    head.headers("connection").any(|value| value.to_ascii_lowercase().contains(&b'x') || value.contains(&b'r'))
}

fn same_target(head: &Head, sent: &[u8]) {
    let query = head.query().map(|query| format!("?{query}")).unwrap_or_default();
    assert!(sent.starts_with(format!("{} {}{query} HTTP/1.", head.method_name(), head.path()).as_bytes()));
}

/// Pieces of heads, whole and broken.
const PIECES: [&str; 40] = [
    "GET ",
    "POST ",
    "PUT ",
    "OPTIONS ",
    "/live/s1.flv",
    "/live/s1-2.ts?app=a&stream=b",
    "*",
    "http://a.b.com",
    "/%2e",
    "/%",
    "/..",
    "?x",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    " ",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "Host: h\r\n",
    "Host: a.b.com:80\r\n",
    "Host:",
    ":",
    "X: y\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x, Upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Content-Length: 7\r\n",
    "Content-Length: ",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:",
    "chunked",
    "0",
    "12",
    ",",
    "\t",
    "X-Forwarded-For: 1.1.1.1\r\n",
    "Forwarded: for=1.1.1.1\r\n",
    "\0",
    "é",
];

proptest! {
    #[test]
    fn any_pieces(picked in proptest::collection::vec(0..PIECES.len(), 0..24)) {
        hold(picked.iter().map(|piece| PIECES[*piece]).collect::<String>().as_bytes());
    }

    #[test]
    fn any_fields_behind_a_request_line(line in 0_usize..4, picked in proptest::collection::vec(19..PIECES.len(), 0..10)) {
        let line = ["GET /live/s1.flv HTTP/1.1\r\nHost: h\r\n", "POST http://a.b.com/live/s1.flv?x HTTP/1.1\r\nHost: h\r\n",
            "PUT /a HTTP/1.0\r\n", "\r\nGET /live/s1 HTTP/1.1\r\nhost:h\r\n"][line];
        let fields: String = picked.iter().map(|piece| PIECES[*piece]).collect();
        hold(format!("{line}{fields}\r\n").as_bytes());
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        hold(&bytes);
    }

    #[test]
    fn any_target(target in "[!-~é]{1,40}") {
        hold(format!("GET /{target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        hold(format!("GET http://{target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    }

    #[test]
    fn whatever_a_path_may_mean_is_a_key(host in ".{0,20}", path in "(/[a-z0-9%._-]{0,8}){0,5}(\\.ts|\\.m3u8|\\.m4s)?", query in ".{0,30}") {
        for key in candidates(&host, &path, Some(&query)) {
            prop_assert_eq!(key.to_string().parse(), Ok(key.clone()));
            let query = format!("{MARK}={}", percent::encode(&key.to_string()));
            prop_assert_eq!(mark(Some(&query)), Some(key));
        }
    }

    #[test]
    fn what_is_marked_is_all_that_changes(
        path in "/[a-z0-9]{1,4}(/[a-z0-9]{1,4}){0,2}\\.m3u8",
        lines in proptest::collection::vec("(#EXT-X-MAP:URI=\"[a-z0-9/.?#&-]{0,12}\"|[a-z0-9/.:?#&=-]{0,16}|#EXTINF:2,)", 0..8),
    ) {
        let key = "a.b.com/live/s1".parse().unwrap();
        let text = format!("#EXTM3U\n{}", lines.join("\n"));
        if let Some(rewritten) = playlist::rewrite(&text, "h", &path, &key) {
            let mark = format!("{MARK}=a.b.com/live/s1");
            let unmarked = rewritten.replace(&format!("?{mark}"), "?").replace(&format!("&{mark}"), "&");
            prop_assert_eq!(unmarked.replace(['?', '&'], ""), text.replace(['?', '&'], ""));
            prop_assert_eq!(playlist::rewrite(&rewritten, "h", &path, &key), None);
        }
    }
}
