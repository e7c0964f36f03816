//! Another reader of RTSP, `rtsp-types`, must see what we see: what is sent on is read again by an origin, or a client.

use super::*;
use rtsp_types::Message as Other;

fn ours(bytes: &[u8]) -> Option<Message> {
    let mut reader = Reader::new(8192);
    reader.push(bytes);
    reader.read().ok().flatten().and_then(|framed| match framed {
        Framed::Message(message) => Some(message),
        Framed::Interleaved(_) => None,
    })
}

/// With the length of it.
fn theirs(bytes: &[u8]) -> Option<(Other<Vec<u8>>, usize)> {
    Other::parse(bytes).ok()
}

/// What we read, the other reader reads alike. Empty lines before a message are no part of it.
pub fn agree(mut bytes: &[u8]) {
    while let Some(rest) = bytes.strip_prefix(b"\r\n") {
        bytes = rest;
    }
    let Some(ours) = ours(bytes) else { return };
    let Some((theirs, len)) = theirs(bytes) else { panic!("only we read it: {ours:?}") };
    assert_eq!(ours.clone().encode().len(), len, "another end");
    match (&ours.start, &theirs) {
        (Start::Request { name, .. }, Other::Request(request)) => {
            assert_eq!(name.as_str(), <&str>::from(request.method()));
            assert_eq!(request.body().as_slice(), ours.body());
        }
        (Start::Response { status, .. }, Other::Response(response)) => {
            assert_eq!(*status, u16::from(response.status()));
            assert_eq!(response.body().as_slice(), ours.body());
        }
        _ => panic!("{ours:?} is {theirs:?}"),
    }
}

#[test]
fn another_reader_sees_the_same_messages() {
    for capture in [
        &include_bytes!("../../../../tests/captures/rtsp/ffmpeg-play-udp.client.bin")[..],
        include_bytes!("../../../../tests/captures/rtsp/ffmpeg-play-udp.origin.bin"),
        include_bytes!("../../../../tests/captures/rtsp/gst-publish-udp.client.bin"),
        include_bytes!("../../../../tests/captures/rtsp/gst-publish-udp.origin.bin"),
    ] {
        for message in messages(capture) {
            let bytes = message.encode();
            assert!(theirs(&bytes).is_some());
            agree(&bytes);
        }
    }
}

#[test]
fn another_reader_understands_what_is_written_here() {
    let mut table = Table::new();
    let setup = request("SETUP rtsp://h/live/s/trackID=0", 1, &["Transport: RTP/AVP;unicast;client_port=8000-8001"]);
    agree(&table.ask(&setup).remove(0).encode());
    let chosen = "Transport: RTP/AVP;unicast;client_port=40002-40003;server_port=6000-6001;source=10.1.0.5";
    agree(&table.answer(&response(200, 1, &[chosen, "Session: 1"])).encode());
    for refusal in [Refusal::NoOrigin, Refusal::TooSlow, Refusal::Error(RtspError::NotRtsp)] {
        let bytes = refusal.encode(Some(3));
        assert!(theirs(&bytes).is_some(), "{refusal:?}");
        agree(&bytes);
    }
}
