//! The dialogue as RFC 2326 has it: who hears what, and what happens when.

use super::*;
use crate::flow::Role;

const STREAM: &str = "rtsp://192.0.2.10:8554/live/s1";

pub fn describe(cseq: u32) -> Vec<u8> {
    request(&format!("DESCRIBE {STREAM}"), cseq, &["Accept: application/sdp"])
}

pub fn setup(track: u32, cseq: u32, transport: &str) -> Vec<u8> {
    request(&format!("SETUP {STREAM}/trackID={track}"), cseq, &[&format!("Transport: {transport}")])
}

pub fn verb(method: &str, cseq: u32) -> Vec<u8> {
    request(&format!("{method} {STREAM}"), cseq, &["Session: 1"])
}

/// Described, and nothing set up.
pub fn described() -> Table {
    let mut table = Table::new();
    assert_eq!(table.ask(&describe(2)).len(), 1);
    table.answer(&response(200, 2, &[]));
    table.happened();
    table
}

/// With one track over UDP.
pub fn over_udp() -> Table {
    let mut table = described();
    table.ask(&setup(0, 3, "RTP/AVP;unicast;client_port=8000-8001"));
    table.answer(&response(200, 3, &["Transport: RTP/AVP;unicast;client_port=40002-40003;server_port=6000-6001"]));
    table
}

#[test]
fn options_are_answered_here_until_the_stream_is_named() {
    let mut table = Table::new();
    for (cseq, url) in [(1, "*"), (2, STREAM)] {
        let answer = table.answered(&request(&format!("OPTIONS {url}"), cseq, &[]));
        assert_eq!((status(&answer), answer.cseq()), (200, Some(cseq)));
        assert!(answer.header("Public").unwrap().contains("ANNOUNCE"));
    }
    let asked = table.ask(&describe(3));
    assert_eq!((asked.len(), asked[0].cseq()), (1, Some(3)));
    assert_eq!(table.replayed, 2, "an origin may count them");
    table.answer(&response(200, 3, &[]));
    let asked = table.ask(&request(&format!("OPTIONS {STREAM}"), 4, &[]));
    assert_eq!(asked[0].cseq(), Some(4), "the session's keep-alive is the origin's");
}

#[test]
fn the_first_method_says_the_role() {
    for (bytes, role) in [
        (request(&format!("DESCRIBE {STREAM}?token=x"), 1, &[]), Role::Play),
        (request(&format!("ANNOUNCE {STREAM}?token=x"), 1, &[]), Role::Publish),
        (request(&format!("SETUP {STREAM}/trackID=0?token=x"), 1, &["Transport: RTP/AVP/TCP"]), Role::Play),
        (
            request(&format!("SETUP {STREAM}/trackID=0?token=x"), 1, &["Transport: RTP/AVP/TCP;mode=\"RECORD\""]),
            Role::Publish,
        ),
    ] {
        let mut table = Table::new();
        assert_eq!(table.ask(&bytes), messages(&bytes));
        let happened = table.happened();
        let Some(Event::Recognized(wanted)) = happened.first() else { panic!("{happened:?}") };
        assert_eq!((wanted.key.to_string().as_str(), wanted.role), ("__defaultVhost__/live/s1", role));
        assert_eq!(wanted.query, "token=x");
        assert!(!format!("{wanted:?}").contains("token"));
    }
}

#[test]
fn what_makes_no_sense_yet_is_answered_and_the_conversation_goes_on() {
    let mut table = Table::new();
    for (method, code) in [("PLAY", 455), ("GET_PARAMETER", 455), ("TEARDOWN", 454), ("REDIRECT", 501), ("NEW", 501)] {
        assert_eq!(status(&table.answered(&verb(method, 1))), code, "{method}");
    }
    assert_eq!(table.ask(&describe(2)).len(), 1);
}

#[test]
fn one_request_at_a_time_is_with_the_origin() {
    let mut table = Table::new();
    let both = [describe(2), setup(0, 3, "RTP/AVP/TCP;interleaved=0-1"), describe(4)].concat();
    assert_eq!(table.ask(&both).len(), 1);
    assert!(!table.dialog.wants_client());
    table.to_origin.clear();
    table.answer(&response(200, 2, &[]));
    assert_eq!(messages(&table.to_origin)[0].cseq(), Some(3));
    table.to_origin.clear();
    table.answer(&response(100, 3, &[]));
    assert!(table.to_origin.is_empty(), "100 is not the answer");
    table.answer(&response(401, 3, &["WWW-Authenticate: Digest realm=\"r\", nonce=\"n\""]));
    assert_eq!(messages(&table.to_origin)[0].cseq(), Some(4));
    assert!(table.dialog.wants_client());
}

#[test]
fn ports_and_addresses_are_ours_on_both_sides() {
    let mut table = described();
    let wish = "RTP/AVP;unicast;client_port=8000-8001;destination=203.0.113.9";
    let asked = table.ask(&setup(0, 3, wish));
    assert_eq!(asked[0].header("Transport"), Some("RTP/AVP;unicast;client_port=40002-40003"));
    let chosen = "Transport: RTP/AVP;unicast;destination=10.1.0.99;source=10.1.0.5;client_port=40002-40003;\
                  server_port=6000-6001;ssrc=DEADBEEF;mode=\"PLAY\"";
    let heard = table.answer(&response(200, 3, &[chosen, "Session: 1;timeout=60"]));
    let transport = "RTP/AVP;unicast;destination=198.51.100.7;source=192.0.2.10;client_port=8000-8001;\
                     server_port=30002-30003;ssrc=DEADBEEF;mode=\"PLAY\"";
    assert_eq!(heard.header("Transport"), Some(transport));
    assert_eq!(heard.header("Session"), Some("1;timeout=60"));
    let udp = Udp {
        ports: ports(1),
        client: pair(8000),
        origin: Some("10.1.0.5".parse().unwrap()),
        server: Some(pair(6000)),
    };
    assert_eq!(table.happened(), [Event::NeedPorts { track: 1 }, Event::Bound { track: 1, udp }]);
}

#[test]
fn alternatives_that_cannot_be_carried_are_not_offered() {
    let mut table = described();
    let all = "RTP/AVP;multicast;client_port=1-2,RTP/AVP;unicast;client_port=8000-8001,RAW/RAW/UDP;client_port=1-2,\
               RTP/AVPF;unicast;client_port=8000-8001,RTP/AVP;client_port=9000-9001,RTP/AVP/TCP;interleaved=0-1";
    let offered = "RTP/AVP;unicast;client_port=40002-40003,RTP/AVPF;unicast;client_port=40002-40003,\
                   RTP/AVP/TCP;interleaved=0-1";
    assert_eq!(table.ask(&setup(0, 3, all))[0].header("Transport"), Some(offered));
    table.answer(&response(200, 3, &["Transport: RTP/AVP/TCP;interleaved=0-1"]));
    assert_eq!(table.happened(), [Event::NeedPorts { track: 1 }, Event::Unbound { track: 1 }]);

    let mut table = described();
    let answer = table.answered(&setup(0, 3, "RTP/AVP;multicast;port=9000-9001"));
    assert_eq!((status(&answer), answer.cseq()), (461, Some(3)));
    assert_eq!(status(&table.answered(&setup(0, 4, ","))), 400);
    assert_eq!(status(&table.answered(&request(&format!("SETUP {STREAM}/trackID=0"), 5, &[]))), 400);
    assert_eq!(table.ask(&setup(0, 6, "RTP/AVP/TCP;interleaved=0-1")).len(), 1, "and it may ask again");
}

#[test]
fn without_datagrams_only_interleaved_media_are_left() {
    let mut table = Table::with(DialogConfig { udp: false, ..config() });
    table.ask(&describe(2));
    table.answer(&response(200, 2, &[]));
    assert_eq!(status(&table.answered(&setup(0, 3, "RTP/AVP;client_port=8000-8001"))), 461);
    let asked = table.ask(&setup(0, 4, "RTP/AVP;client_port=8000-8001,RTP/AVP/TCP;interleaved=0-1"));
    assert_eq!(asked[0].header("Transport"), Some("RTP/AVP/TCP;interleaved=0-1"));
}

#[test]
fn play_of_interleaved_media_joins_the_legs_with_all_that_follows() {
    let mut table = described();
    table.ask(&setup(0, 3, "RTP/AVP/TCP;interleaved=0-1"));
    table.answer(&response(200, 3, &["Transport: RTP/AVP/TCP;interleaved=0-1", "Session: 1"]));
    let bytes = [verb("PLAY", 4), b"$\x01\0\x04".to_vec()].concat();
    assert_eq!(table.ask(&bytes), []);
    assert_eq!(table.happened(), [Event::Ready { trigger: bytes }]);
    assert_eq!(table.client(b"x"), Err(RtspError::Over));
}

#[test]
fn play_over_udp_stays_in_the_dialogue_until_teardown() {
    let mut table = over_udp();
    table.happened();
    assert_eq!(table.ask(&verb("PLAY", 4)).len(), 1);
    table.answer(&response(200, 4, &[]));
    assert_eq!(table.happened(), [Event::Started]);
    for (method, cseq) in [("GET_PARAMETER", 5), ("OPTIONS", 6), ("PAUSE", 7)] {
        assert_eq!(table.ask(&verb(method, cseq)).len(), 1);
        assert_eq!(status(&table.answer(&response(200, cseq, &[]))), 200);
    }
    table.ask(&verb("TEARDOWN", 8));
    table.answer(&response(200, 8, &[]));
    assert_eq!(table.happened(), [Event::Unbound { track: 1 }, Event::TornDown]);
}

#[test]
fn one_track_can_be_torn_down_or_set_up_again() {
    let mut table = over_udp();
    table.ask(&setup(1, 4, "RTP/AVP;client_port=8002-8003"));
    table.answer(&response(200, 4, &["Transport: RTP/AVP;client_port=40004-40005;server_port=6002-6003"]));
    table.happened();
    table.ask(&request(&format!("TEARDOWN {STREAM}/trackID=1"), 5, &[]));
    table.answer(&response(200, 5, &[]));
    assert_eq!(table.happened(), [Event::Unbound { track: 2 }]);
    table.ask(&setup(0, 6, "RTP/AVP/TCP;interleaved=0-1"));
    table.answer(&response(200, 6, &["Transport: RTP/AVP/TCP;interleaved=0-1"]));
    assert_eq!(table.happened(), [Event::Unbound { track: 1 }]);
    table.ask(&verb("PLAY", 7));
    assert!(matches!(table.happened()[..], [Event::Ready { .. }]));
}

#[test]
fn a_refused_setup_gives_its_ports_back() {
    let mut table = described();
    table.ask(&setup(0, 3, "RTP/AVP;client_port=8000-8001"));
    assert_eq!(status(&table.answer(&response(461, 3, &[]))), 461);
    assert_eq!(table.happened(), [Event::NeedPorts { track: 1 }, Event::Unbound { track: 1 }]);
}

#[test]
fn one_connection_is_one_stream_and_one_role() {
    let mut table = over_udp();
    let other = "rtsp://192.0.2.10:8554/live/s2";
    for (method, code) in [("DESCRIBE", 455), ("ANNOUNCE", 455), ("SETUP", 459), ("PLAY", 455), ("TEARDOWN", 455)] {
        let bytes = request(&format!("{method} {other}"), 9, &["Transport: RTP/AVP/TCP"]);
        assert_eq!(status(&table.answered(&bytes)), code, "{method}");
    }
    assert_eq!(status(&table.answered(&verb("RECORD", 9))), 455);
    assert_eq!(status(&table.answered(&request(&format!("ANNOUNCE {STREAM}"), 9, &[]))), 455);
    assert_eq!(status(&table.answered(&setup(1, 9, "RTP/AVP/TCP;mode=record"))), 455);

    let mut publisher = Table::new();
    publisher.ask(&with_body(request(&format!("ANNOUNCE {STREAM}"), 1, &[]), "application/sdp", "v=0\r\n"));
    publisher.answer(&response(200, 1, &[]));
    assert_eq!(status(&publisher.answered(&verb("PLAY", 2))), 455);
    assert_eq!(status(&publisher.answered(&describe(3))), 455);
    assert_eq!(publisher.ask(&setup(0, 4, "RTP/AVP/TCP;interleaved=0-1")).len(), 1);
}

#[test]
fn the_clients_way_stays_the_clients_way() {
    let mut table = Table::new();
    table.ask(&describe(2));
    let sdp = "v=0\r\no=- 1 1 IN IP4 10.1.0.5\r\na=control:rtsp://10.1.0.5/live/s1/\r\nm=video 0 RTP/AVP 96\r\n\
               a=control:rtsp://media-5.internal:8554/live/s1/trackID=0\r\na=control:trackID=1\na=x";
    let head = response(200, 2, &["Content-Base: rtsp://10.1.0.5:554/live/s1/"]);
    let heard = table.answer(&with_body(head, "application/sdp", sdp));
    assert_eq!(heard.header("Content-Base"), Some("rtsp://192.0.2.10:8554/live/s1/"));
    let body = std::str::from_utf8(heard.body()).unwrap();
    assert_eq!(heard.header("Content-Length"), Some(body.len().to_string().as_str()));
    assert!(body.contains("a=control:rtsp://192.0.2.10:8554/live/s1/\r\nm="), "{body}");
    assert!(body.contains("a=control:rtsp://192.0.2.10:8554/live/s1/trackID=0\r\na=control:trackID=1\na=x"), "{body}");
    assert!(body.contains("IN IP4 10.1.0.5"), "who made the description is not where it is");

    table.ask(&setup(0, 3, "RTP/AVP;client_port=8000-8001"));
    table.answer(&response(200, 3, &["Transport: RTP/AVP;client_port=40002-40003;server_port=6000-6001"]));
    table.ask(&verb("PLAY", 4));
    let info =
        "RTP-Info: url=rtsp://10.1.0.5/live/s1/trackID=0;seq=1;rtptime=2,url=\"rtsp://x/live/s1/trackID=1\";seq=3";
    let heard = table.answer(&response(200, 4, &[info]));
    assert_eq!(
        heard.header("RTP-Info"),
        Some(
            "url=rtsp://192.0.2.10:8554/live/s1/trackID=0;seq=1;rtptime=2,\
             url=\"rtsp://192.0.2.10:8554/live/s1/trackID=1\";seq=3"
        )
    );
}

#[test]
fn an_origin_may_ask_too_and_redirect() {
    let mut table = over_udp();
    let own = request("REDIRECT rtsp://10.1.0.5/live/s1", 700, &["Location: rtsp://10.1.0.5:554/live/s1"]);
    let heard = table.answer(&own);
    assert_eq!(heard.header("Location"), Some("rtsp://192.0.2.10:8554/live/s1"));
    assert!(matches!(&heard.start, Start::Request { url, .. } if url == STREAM));
    let answer = response(200, 700, &[]);
    assert_eq!(table.ask(&answer), messages(&answer));
    let elsewhere =
        request("REDIRECT rtsp://10.1.0.5/live/s1", 701, &["Location: rtsp://elsewhere.example.com/live/s1"]);
    assert_eq!(table.answer(&elsewhere).header("Location"), Some("rtsp://elsewhere.example.com/live/s1"));
}

#[test]
fn credentials_are_the_origins_affair() {
    let mut table = Table::new();
    table.ask(&describe(2));
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\"";
    assert_eq!(table.answer(&response(401, 2, &[challenge])).header("WWW-Authenticate"), Some(&challenge[18..]));
    let again = request(&format!("DESCRIBE {STREAM}"), 3, &["Authorization: Digest username=\"u\", response=\"0\""]);
    assert_eq!(table.ask(&again), messages(&again));
}

#[test]
fn a_secure_url_is_an_ordinary_one_behind_the_balancer() {
    let mut table = Table::new();
    let asked = table.ask(&request("DESCRIBE rtsps://a.example.com/live/s1", 1, &[]));
    assert!(matches!(&asked[0].start, Start::Request { url, .. } if url == "rtsp://a.example.com/live/s1"));
    let heard = table.answer(&response(200, 1, &["Content-Base: rtsp://a.example.com/live/s1/"]));
    assert_eq!(heard.header("Content-Base"), Some("rtsps://a.example.com/live/s1/"));
}

#[test]
fn another_origin_gets_the_first_request_as_long_as_none_has_spoken() {
    let mut table = Table::new();
    let both = [describe(2), setup(0, 3, "RTP/AVP/TCP;interleaved=0-1")].concat();
    table.ask(&both);
    assert!(table.dialog.disconnected());
    table.to_origin.clear();
    table.dialog.connected(ORIGIN).unwrap();
    table.settle().unwrap();
    assert_eq!(table.to_origin, describe(2));
    table.to_origin.clear();
    table.answer(&response(200, 2, &[]));
    assert_eq!(messages(&table.to_origin)[0].cseq(), Some(3));
    assert!(!table.dialog.disconnected());
}

#[test]
fn another_origin_hears_each_request_once_whenever_the_first_one_went() {
    for read in 0..2 {
        let mut dialog = Dialog::new(config());
        dialog.client(&[request("OPTIONS *", 1, &[]), describe(2), describe(3)].concat()).unwrap();
        dialog.connected(ORIGIN).unwrap();
        let mut heard = dialog.take_to_origin();
        for cseq in 1..=read {
            dialog.origin(&response(200, cseq, &[])).unwrap();
            heard = dialog.take_to_origin();
        }
        assert_eq!(messages(&heard)[0].cseq(), Some(read + 1));
        assert!(dialog.disconnected());
        dialog.connected(ORIGIN).unwrap();
        let mut heard = dialog.take_to_origin();
        for cseq in 1..=3 {
            dialog.origin(&response(200, cseq, &[])).unwrap();
            heard.extend(dialog.take_to_origin());
        }
        assert_eq!(messages(&heard).iter().filter_map(Message::cseq).collect::<Vec<_>>(), [1, 2, 3]);
    }
}

#[test]
fn a_first_setup_gets_new_ports_for_every_origin() {
    let mut table = Table::new();
    table.ask(&setup(0, 1, "RTP/AVP;client_port=8000-8001"));
    assert!(table.dialog.disconnected());
    table.settle().unwrap();
    table.dialog.connected(ORIGIN).unwrap();
    table.settle().unwrap();
    let happened = table.happened();
    let expected = [Event::NeedPorts { track: 1 }, Event::Unbound { track: 1 }, Event::NeedPorts { track: 2 }];
    assert_eq!(happened[1..], expected);
}

#[test]
fn a_refusal_answers_the_request_that_waits() {
    for refusal in [Refusal::NoOrigin, Refusal::Overload] {
        let mut table = Table::new();
        table.dialog.client(&describe(5)).unwrap();
        table.dialog.refuse(refusal);
        let answer = messages(&table.dialog.take_to_client()).remove(0);
        assert_eq!((status(&answer), answer.cseq(), answer.header("Retry-After")), (503, Some(5), Some("1")));
        assert_eq!(table.dialog.client(b"x"), Err(RtspError::Over));
    }
}
