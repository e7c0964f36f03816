//! What the HTTP targets share: a second opinion on heads.

use crate::recognize::http::{FIELDS_MAX, FORWARDED, Head, Progress, Version, Via, forward, head, intent};

pub const HEAD_LEN_MAX: usize = 64 * 1024;
/// More than what forwarding adds.
const FIELDS_ADDED_MAX: usize = 8;

/// Most of what is left of a request may be gone, nothing of what it means.
pub fn forwards(request: &Head, trust_forwarded: bool) {
    let (client, vip) = (([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7], 5).into(), ([10, 0, 0, 1], 80).into());
    let bytes = forward(request, &Via { client, tls: true, vip, trust_forwarded });
    if request.fields().count() + FIELDS_ADDED_MAX > FIELDS_MAX {
        return;
    }
    let sent = match head(&bytes, 2 * HEAD_LEN_MAX) {
        Ok(Progress::Complete(sent)) => sent,
        other => panic!("forwarded, but {other:?}"),
    };
    assert_eq!(sent.len, bytes.len());
    agrees_with_httparse(&sent);
    assert_eq!((sent.method_name(), sent.version), (request.method_name(), request.version));
    assert_eq!((sent.path(), sent.query(), sent.host()), (request.path(), request.query(), request.host()));
    assert_eq!((sent.body, sent.wants_upgrade()), (request.body, request.wants_upgrade()));
    assert_eq!(sent.keep_alive, request.wants_upgrade());
    assert_eq!(sent.headers("connection").count(), 1);
    assert_eq!(FORWARDED.map(|name| sent.headers(name).count()), [1; 4]);
    for name in ["content-length", "transfer-encoding"] {
        assert!(sent.headers(name).eq(request.headers(name)));
    }
    assert_eq!(intent(&sent, |_| false), intent(request, |_| false));
}

/// What we take, `httparse` takes, and reads the same in it.
pub fn agrees_with_httparse(head: &Head) {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut other = httparse::Request::new(&mut fields);
    assert_eq!(other.parse(head.raw()), Ok(httparse::Status::Complete(head.raw().len())));
    assert_eq!(other.method, Some(head.method_name()));
    assert_eq!(other.version, Some(u8::from(head.version == Version::Http11)));
    assert!(other.path.is_some_and(|path| path.contains(head.path()) || head.path() == "/"));
    let theirs = other.headers.iter().map(|field| (field.name.as_bytes(), field.value));
    assert!(theirs.eq(head.fields()));
}
