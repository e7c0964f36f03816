//! The side that faces the client.

use super::script::{Script, obs, vlc};
use super::{Role, recognize, same, serve};
use crate::recognize::rtmp::amf::Value;
use crate::recognize::rtmp::*;

fn every_split_gives_the_same(bytes: &[u8]) {
    let whole = recognize(bytes);
    for cut in 0..bytes.len() {
        let (got, _) = serve(ServerConfig::default(), bytes, &[cut]);
        assert!(same(&got.unwrap().expect("recognized"), &whole), "cut at {cut}");
    }
    let every: Vec<usize> = (1..bytes.len()).collect();
    let (got, _) = serve(ServerConfig::default(), bytes, &every);
    assert!(same(&got.unwrap().expect("recognized"), &whole), "byte by byte");
}

#[test]
fn obs_is_recognized_at_every_split() {
    let script = obs("rtmp://a.b.com:1935/live", "live", "cam?token=x");
    let request = recognize(&script.bytes);
    assert_eq!(request.key.to_string(), "a.b.com/live/cam");
    assert_eq!((request.role, request.stream_id), (Role::Publish, 1));
    assert_eq!([&script.bytes[..3073], &request.replay, &request.trigger].concat(), script.bytes);
    every_split_gives_the_same(&script.bytes);
}

#[test]
fn vlc_is_recognized_at_every_split() {
    let script = vlc("rtmp://10.0.0.1:1935/live", "live", "cam");
    let request = recognize(&script.bytes);
    assert_eq!(request.key.to_string(), "__defaultVhost__/live/cam");
    assert_eq!((request.role, request.stream_id), (Role::Play, 1));
    every_split_gives_the_same(&script.bytes);
}

#[test]
fn vhost_parameters_name_the_vhost_wherever_they_stand() {
    for (url, app, name) in [
        ("rtmp://10.0.0.1/live?vhost=a.b.com", "live?vhost=a.b.com", "cam"),
        ("rtmp://10.0.0.1/live", "live", "cam?x=1&vhost=a.b.com"),
        ("rtmp://10.0.0.1/live?domain=a.b.com", "live", "cam"),
        ("rtmp://10.0.0.1/live...vhost...a.b.com", "live...vhost...a.b.com", "cam"),
        ("rtmp://A.b.com:19350/live/", "live", "/cam?token=a/b"),
        ("rtmp://user:pass@a.b.com/live", "live", "cam"),
        ("rtmp://a.b.com", "live", "cam"),
        ("rtmp://a.b.com/live/cam", "live/cam", ""),
        ("rtmp://a.b.com/live/_definst_", "live/_definst_", "cam"),
    ] {
        let script = Script::shaken().connect(app, url).create_stream(2.0).publish(1, name);
        assert_eq!(recognize(&script.bytes).key.to_string(), "a.b.com/live/cam", "{url} {name}");
    }
    let script = Script::shaken().connect("live", "rtmp://[2001:db8::1]:1935/live").create_stream(2.0).play(1, "cam");
    assert_eq!(recognize(&script.bytes).key.to_string(), "__defaultVhost__/live/cam");
}

#[test]
fn a_name_that_is_no_name_is_answered_with_bad_name() {
    let script = Script::shaken().connect("live", "rtmp://h/live").create_stream(2.0).publish(1, "?token=x");
    let (got, output) = serve(ServerConfig::default(), &script.bytes, &[]);
    assert_eq!(got.err(), Some(RtmpError::Key(crate::recognize::StreamKeyError::EmptyStream)));
    assert!(output.windows(25).any(|window| window == b"NetStream.Publish.BadName"));
}

#[test]
fn what_clients_chatter_before_the_trigger_is_tolerated_and_replayed() {
    let script = Script::shaken()
        .word(1, 4096)
        .word(3, 3073)
        .connect("live", "rtmp://h/live")
        .message(2, 4, 0, &[0, 7, 0, 0, 0, 9])
        .call("_checkbw", 2.0, &[Value::Null])
        .create_stream(3.0)
        .create_stream(4.0)
        .call("deleteStream", 0.0, &[Value::Null, Value::Number(1.0)])
        .call("getStreamLength", 5.0, &[Value::Null, Value::text("cam")])
        .message(4, 18, 2, &[2, 0, 1, b'x'])
        .message(6, 9, 2, &[0x17; 5000])
        .message(3, 17, 0, &[0, 2, 0, 4, b'p', b'i', b'n', b'g', 0, 0x40, 0x18, 0, 0, 0, 0, 0, 0])
        .publish(2, "cam");
    let request = recognize(&script.bytes);
    assert_eq!(request.stream_id, 2);
    assert_eq!(request.calls.create_stream, [(3.0, 1), (4.0, 2)]);
    assert_eq!([&script.bytes[..3073], &request.replay, &request.trigger].concat(), script.bytes);
}

#[test]
fn a_client_without_end_meets_the_limit() {
    let mut script = Script::shaken().connect("live", "rtmp://h/live");
    for _ in 0..40 {
        script = script.message(6, 9, 1, &[0; 2000]);
    }
    let (got, _) = serve(ServerConfig::default(), &script.publish(1, "cam").bytes, &[]);
    assert_eq!(got.err(), Some(RtmpError::Preamble { max: 65536 }));
}

#[test]
fn what_is_not_rtmp_is_named_at_the_first_byte() {
    let (got, output) = serve(ServerConfig::default(), b"GET / HTTP/1.1\r\n", &[]);
    assert_eq!(got.err(), Some(RtmpError::Version(b'G')));
    assert!(output.is_empty());
}

#[test]
fn a_client_refused_before_it_spoke_is_told_at_connect() {
    let mut side = ServerSide::new(ServerConfig::default());
    side.refuse(Refusal::Overload);
    let script = Script::shaken().connect("live", "rtmp://h/live");
    assert_eq!(side.feed(&script.bytes).err(), Some(RtmpError::Refused));
    let output = side.take_output();
    assert!(output.windows(6).any(|window| window == b"_error"));
    assert!(output.windows(30).any(|window| window == b"NetConnection.Connect.Rejected"));
    assert!(output.windows(28).any(|window| window == b"every origin has reached its"));
}
