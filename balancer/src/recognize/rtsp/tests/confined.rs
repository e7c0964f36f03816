//! A client stays within the session that was placed and allowed, and within its bounds.

use super::dialog::{described, over_udp, setup, verb};
use super::*;

#[test]
fn nothing_leads_out_of_the_session() {
    let mut table = over_udp();
    for (line, code) in [
        ("NEW rtsp://192.0.2.10:8554/live/s1", 501),
        ("OPTIONS rtsp://192.0.2.10:8554/live/s2", 455),
        ("GET_PARAMETER rtsp://192.0.2.10:8554/live/s2", 455),
        ("SET_PARAMETER rtsp://192.0.2.10:8554/live/s1/deeper/still", 455),
        ("PLAY rtsp://192.0.2.10:8554/live/s1?vhost=b.example.com", 455),
        ("SETUP rtsp://b.example.com/live/s1/trackID=0", 459),
    ] {
        assert_eq!(status(&table.answered(&request(line, 4, &["Transport: RTP/AVP/TCP"]))), code, "{line}");
    }
    for (cseq, line) in [(5, "OPTIONS *"), (6, "GET_PARAMETER rtsp://192.0.2.10:8554/live/s1/")] {
        assert_eq!(table.ask(&request(line, cseq, &[])).len(), 1, "{line}");
        table.answer(&response(200, cseq, &[]));
    }
}

#[test]
fn a_request_behind_play_is_read_and_keeps_the_legs_apart() {
    let frame = b"$\x01\0\x02ab";
    let beyond = request("DESCRIBE rtsp://192.0.2.10:8554/live/s2", 5, &[]);
    for rest in [beyond.clone(), [&frame[..], &beyond].concat(), b"TEAR".to_vec()] {
        let mut table = described();
        table.ask(&setup(0, 3, "RTP/AVP/TCP;interleaved=0-1"));
        table.answer(&response(200, 3, &["Transport: RTP/AVP/TCP;interleaved=0-1", "Session: 1"]));
        table.happened();
        assert_eq!(table.ask(&[verb("PLAY", 4), rest.clone()].concat()).len(), 1);
        table.to_client.clear();
        table.origin(&response(200, 4, &[])).unwrap();
        assert_eq!(table.happened(), [Event::Started]);
        let heard = messages(&table.to_client);
        assert_eq!(heard.len(), if rest == b"TEAR" { 1 } else { 2 });
        assert_eq!(heard.get(1).map_or(455, status), 455);
    }
    for rest in [&frame[..], &frame[..3], &[frame, &frame[..5]].concat()] {
        let mut reader = Reader::new(8192);
        reader.push(rest);
        assert!(reader.holds_media_only(), "{rest:?}");
    }
}

#[test]
fn setups_come_to_an_end() {
    let mut table = described();
    for cseq in 3..3 + SETUPS_MAX {
        assert_eq!(table.ask(&setup(0, cseq, "RTP/AVP;client_port=8000-8001")).len(), 1);
        table.answer(&response(404, cseq, &[]));
    }
    assert_eq!(table.client(&setup(0, 99, "RTP/AVP;client_port=8000-8001")), Err(RtspError::Setups));
    table.dialog.refuse(Refusal::Error(RtspError::Setups));
    assert_eq!(status(&messages(&table.dialog.take_to_client())[0]), 503);
}

#[test]
fn a_session_lasts_as_long_as_its_origin_says() {
    for (session, seconds) in
        [("1", 60), ("1;timeout=25", 25), ("1 ; Timeout = 30", 30), ("1;timeout=0", 10), ("1;timeout=x", 60)]
    {
        let mut table = described();
        table.ask(&setup(0, 3, "RTP/AVP/TCP;interleaved=0-1"));
        table.answer(&response(200, 3, &["Transport: RTP/AVP/TCP;interleaved=0-1", &format!("Session: {session}")]));
        assert_eq!(table.dialog.session_timeout().as_secs(), seconds, "{session}");
    }
}
