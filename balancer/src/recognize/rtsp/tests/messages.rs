//! Where a message ends, and what is none.

use super::*;

fn next(bytes: &[u8]) -> Result<Option<Framed>, RtspError> {
    let mut reader = Reader::new(512);
    reader.push(bytes);
    reader.read()
}

fn malformed(bytes: &str) -> RtspError {
    match next(bytes.as_bytes()) {
        Err(error) => error,
        read => panic!("{bytes:?}: {read:?}"),
    }
}

#[test]
fn a_message_that_is_not_changed_goes_on_as_it_came() {
    let bytes = b"DESCRIBE rtsp://h/live/s RTSP/1.0\r\ncseq:7\r\nX-Odd :\tv\r\n\r\n";
    assert_eq!(malformed(std::str::from_utf8(bytes).unwrap()), RtspError::Malformed("a header name that is no token"));
    let bytes = b"DESCRIBE rtsp://h/live/s RTSP/1.0\r\ncseq:7\r\nX-Odd:\tv \r\ncontent-length: 3\r\n\r\nabc";
    let mut message = messages(bytes).remove(0);
    assert_eq!((message.cseq(), message.header("x-odd"), message.body()), (Some(7), Some("v"), &b"abc"[..]));
    message.set("CSeq", "7".into());
    message.set_body(b"abc".to_vec());
    assert_eq!(message.clone().encode(), bytes);
    message.set("X-Odd", "w".into());
    let changed = b"DESCRIBE rtsp://h/live/s RTSP/1.0\r\ncseq: 7\r\nX-Odd: w\r\ncontent-length: 3\r\n\r\nabc";
    assert_eq!(message.encode(), changed);
}

#[test]
fn empty_lines_before_a_message_are_skipped() {
    let read = next(b"\r\n\r\nRTSP/1.0 200 OK\r\n\r\n").unwrap();
    assert!(matches!(read, Some(Framed::Message(m)) if status(&m) == 200));
    assert_eq!(next(b"\r"), Ok(None));
}

#[test]
fn frames_are_kept_whole() {
    assert_eq!(next(b"$\x01\0\x03ab"), Ok(None));
    assert_eq!(next(b"$\x01\0\x03abcd"), Ok(Some(Framed::Interleaved(b"$\x01\0\x03abc".to_vec()))));
}

#[test]
fn other_protocols_are_refused_by_their_first_bytes() {
    for bytes in [&b"\x16\x03\x01"[..], b"\x03", b"get / HTTP/1.1", b"GET / HTTP/1.1\r\n", b"SSH-2.0-x\r\n"] {
        assert_eq!(next(bytes), Err(RtspError::NotRtsp), "{bytes:?}");
    }
    for line in ["OPTIONS * RTSP/2.0", "RTSP/2.0 200 OK", "OPTIONS * RTSP/1.1"] {
        assert_eq!(malformed(&format!("{line}\r\n")), RtspError::Version, "{line}");
    }
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for (headers, why) in [
        ("Content-Length: 3\r\nContent-Length: 3", "more than one Content-Length"),
        ("Content-Length: 3\r\ncontent-length: 4", "more than one Content-Length"),
        ("Content-Length: +3", "a Content-Length that is no number"),
        ("Content-Length: 3, 3", "a Content-Length that is no number"),
        ("Content-Length:", "a Content-Length that is no number"),
        ("Content-Length: 99999999999", "a Content-Length that is no number"),
        ("Transfer-Encoding: chunked", "Transfer-Encoding, which RTSP does not have"),
        ("X: a\r\n folded", "a header without a colon"),
        ("X: a\r\n folded: b", "a header name that is no token"),
        ("X: a\nY: b", "a control character in a header"),
        ("X: a\rY: b", "a control character in a header"),
        ("no colon", "a header without a colon"),
        (": no name", "a header name that is no token"),
    ] {
        let text = format!("SETUP rtsp://h/live/s RTSP/1.0\r\n{headers}\r\n\r\n");
        assert_eq!(malformed(&text), RtspError::Malformed(why), "{headers:?}");
    }
    assert_eq!(malformed("OPTIONS *  RTSP/1.0\r\n"), RtspError::NotRtsp);
    assert_eq!(malformed("OPTIONS *\tRTSP/1.0\r\n"), RtspError::NotRtsp);
    assert_eq!(malformed("OPTIONS * RTSP/1.0\n\n\r\n"), RtspError::NotRtsp);
    assert_eq!(malformed("RTSP/1.0 2000 OK\r\n"), RtspError::Malformed("a status that is no number"));
}

#[test]
fn every_size_has_a_limit() {
    let long = format!("OPTIONS rtsp://h/{} RTSP/1.0\r\n\r\n", "x".repeat(600));
    assert_eq!(malformed(&long), RtspError::HeadTooLarge { max: 512 });
    assert_eq!(malformed(&format!("OPTIONS {}", "x".repeat(600))), RtspError::HeadTooLarge { max: 512 });
    let headers = "X: y\r\n".repeat(HEADERS_MAX);
    assert!(next(format!("OPTIONS * RTSP/1.0\r\n{headers}\r\n").as_bytes()).unwrap().is_some());
    assert_eq!(malformed(&format!("OPTIONS * RTSP/1.0\r\n{headers}X: y\r\n\r\n")), RtspError::Headers);
    let body = |len: usize| format!("OPTIONS * RTSP/1.0\r\nContent-Length: {len}\r\n\r\n");
    assert_eq!(next(body(BODY_BYTES_MAX).as_bytes()), Ok(None));
    assert_eq!(malformed(&body(BODY_BYTES_MAX + 1)), RtspError::BodyTooLarge);
}
