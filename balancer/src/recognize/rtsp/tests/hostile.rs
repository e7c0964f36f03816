//! Clients and origins that do what they should not.

use super::*;

fn fails(bytes: &[u8]) -> RtspError {
    match Table::new().client(bytes) {
        Err(error) => error,
        Ok(()) => panic!("{bytes:?} was taken"),
    }
}

#[test]
fn a_client_that_does_not_keep_to_the_rules_is_refused() {
    let describe = |url: &str| request(&format!("DESCRIBE {url}"), 1, &[]);
    assert_eq!(fails(&describe("*")), RtspError::Url("is not absolute"));
    assert_eq!(fails(&describe("/live/s1")), RtspError::Url("is not absolute"));
    assert_eq!(fails(&describe("rtsp://h/s1")), RtspError::Key(crate::recognize::StreamKeyError::EmptyApp));
    assert_eq!(fails(b"OPTIONS * RTSP/1.0\r\n\r\n"), RtspError::Malformed("a request without CSeq"));
    assert_eq!(fails(b"OPTIONS * RTSP/1.0\r\nCSeq: -1\r\n\r\n"), RtspError::Malformed("a request without CSeq"));
    assert_eq!(fails(&response(200, 1, &[])), RtspError::Malformed("a response to nothing"));
    assert_eq!(fails(b"$\0\0\0"), RtspError::Malformed("an interleaved frame before any was agreed on"));
    let endless: Vec<u8> = (0..40).flat_map(|cseq| request("OPTIONS *", cseq, &[])).collect();
    assert_eq!(fails(&endless), RtspError::Early("too much"));
}

#[test]
fn an_error_is_told_with_its_own_status() {
    for (error, code) in [
        (RtspError::NotRtsp, 400),
        (RtspError::Version, 505),
        (RtspError::HeadTooLarge { max: 1 }, 413),
        (RtspError::Key(crate::recognize::StreamKeyError::EmptyApp), 404),
        (RtspError::Url("is not absolute"), 400),
        (RtspError::Early("too much"), 455),
    ] {
        let mut dialog = Dialog::new(config());
        dialog.refuse(Refusal::Error(error));
        let answer = messages(&dialog.take_to_client()).remove(0);
        assert_eq!((status(&answer), answer.header("Connection")), (code, Some("close")), "{error}");
    }
}

#[test]
fn a_required_option_that_we_do_not_know_is_named_and_refused() {
    let mut table = Table::new();
    let answer = table.answered(&request("DESCRIBE rtsp://h/live/s", 1, &["Proxy-Require: funky"]));
    assert_eq!((status(&answer), answer.header("Unsupported")), (551, Some("funky")));
}

#[test]
fn an_origin_that_answers_what_it_was_not_asked_is_dropped() {
    let talking = || {
        let mut table = Table::new();
        table.ask(&request("DESCRIBE rtsp://h/live/s", 1, &[]));
        table
    };
    assert_eq!(talking().origin(&response(200, 2, &[])), Err(RtspError::Unasked));
    assert_eq!(talking().origin(&[response(200, 1, &[]), response(200, 1, &[])].concat()), Err(RtspError::Unasked));
    assert_eq!(talking().origin(b"$\0\0\0"), Err(RtspError::Unasked));
    assert_eq!(talking().origin(b"HTTP/1.0 200 OK\r\n"), Err(RtspError::NotRtsp));
    let questions: Vec<u8> = (0..20).flat_map(|cseq| request("OPTIONS *", cseq, &[])).collect();
    assert_eq!(talking().origin(&questions), Err(RtspError::Unasked));

    let mut table = talking();
    table.answer(&response(200, 1, &[]));
    table.ask(&request("SETUP rtsp://h/live/s/trackID=0", 2, &["Transport: RTP/AVP/TCP"]));
    let chosen = "Transport: RTP/AVP;client_port=1-2;server_port=3-4";
    assert_eq!(table.origin(&response(200, 2, &[chosen])), Err(RtspError::Unasked), "datagrams were not offered");
}

#[test]
fn tracks_have_a_limit() {
    let mut table = Table::new();
    table.ask(&request("DESCRIBE rtsp://h/live/s", 1, &[]));
    table.answer(&response(200, 1, &[]));
    for track in 0..TRACKS_MAX as u32 {
        let bytes = request(&format!("SETUP rtsp://h/live/s/trackID={track}"), track, &["Transport: RTP/AVP/TCP"]);
        assert_eq!(table.ask(&bytes).len(), 1);
        table.answer(&response(200, track, &["Transport: RTP/AVP/TCP;interleaved=0-1"]));
    }
    let more = request("SETUP rtsp://h/live/s/trackID=99", 99, &["Transport: RTP/AVP/TCP"]);
    assert_eq!(status(&table.answered(&more)), 503);
}
