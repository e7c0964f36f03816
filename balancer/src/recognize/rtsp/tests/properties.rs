//! What holds for any bytes at all.

use super::oracle::agree;
use super::*;
use proptest::prelude::*;

/// Words of RTSP in any order: closer to it than random bytes get.
fn words() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        Just("OPTIONS * RTSP/1.0\r\n"),
        Just("DESCRIBE rtsp://h/live/s RTSP/1.0\r\n"),
        Just("SETUP rtsp://h/live/s/trackID=0 RTSP/1.0\r\n"),
        Just("PLAY rtsp://h/live/s RTSP/1.0\r\n"),
        Just("RTSP/1.0 200 OK\r\n"),
        Just("CSeq: 1\r\n"),
        Just("Content-Length: 4\r\n"),
        Just("Transport: RTP/AVP;client_port=8000-8001\r\n"),
        Just("Transport: RTP/AVP/TCP;interleaved=0-1\r\n"),
        Just("\r\n"),
        Just("abcd"),
        Just("$\0\0\u{4}"),
        Just("\r"),
        Just(" x: y\r\n"),
    ];
    prop::collection::vec(word, 0..24).prop_map(|words| words.concat().into_bytes())
}

type Outcome = (Result<(), RtspError>, Vec<u8>, Vec<u8>, Vec<Event>);

fn serve(bytes: &[u8], cut: usize) -> Outcome {
    let mut table = Table::new();
    let (a, b) = bytes.split_at(cut.min(bytes.len()));
    let fed = table.client(a).and_then(|()| table.client(b));
    (fed, table.to_client, table.to_origin, table.events)
}

proptest! {
    #[test]
    fn cuts_change_nothing(bytes in words(), cut in 0usize..600) {
        prop_assert_eq!(serve(&bytes, 0), serve(&bytes, cut));
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..300) {
        prop_assert_eq!(serve(&bytes, 0), serve(&bytes, cut));
    }

    /// Whatever is read here is the same message to another reader.
    #[test]
    fn readers_agree(bytes in words()) {
        agree(&bytes);
    }

    #[test]
    fn what_is_written_can_be_read(name in "[A-Za-z-]{1,12}", value in "[ -~]{0,40}") {
        let mut message = messages(b"PLAY rtsp://h/live/s RTSP/1.0\r\nCSeq: 1\r\n\r\n").remove(0);
        message.set(&name, value.trim().to_owned());
        message.set_body(b"body".to_vec());
        let length = name.eq_ignore_ascii_case("Content-Length") || name.eq_ignore_ascii_case("Transfer-Encoding");
        if !length {
            let again = messages(&message.clone().encode()).remove(0);
            prop_assert_eq!(again.header(&name), Some(value.trim()));
            prop_assert_eq!(again.body(), b"body");
        }
    }

    #[test]
    fn transports_survive_a_round(text in "[a-zA-Z0-9/;=,\"-]{0,80}") {
        if let Ok(list) = Transport::parse_list(&text) {
            prop_assert_eq!(Transport::parse_list(&Transport::list(&list)), Ok(list));
        }
    }
}
