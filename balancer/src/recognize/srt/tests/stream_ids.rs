//! Every form of a stream id, and what is none.

use super::*;
use crate::flow::Role::{self, Play, Publish};

#[track_caller]
fn means(text: &str, key: &str, role: Role, query: &str) {
    let asked = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!((asked.key.to_string().as_str(), asked.role, asked.query.as_str()), (key, role, query), "{text}");
}

#[test]
fn a_resource_and_a_mode_name_a_stream_and_a_role() {
    means("#!::r=live/cam,m=publish", "__defaultVhost__/live/cam", Publish, "");
    means("#!::m=PUBLISH,r=live/cam", "__defaultVhost__/live/cam", Publish, "");
    means("#!::r=live/cam,m=request", "__defaultVhost__/live/cam", Play, "");
    means("#!::r=live/cam,m=bidirectional", "__defaultVhost__/live/cam", Publish, "");
    means("#!::r=live/cam", "__defaultVhost__/live/cam", Play, "");
    means("#!::r=cam,m=publish", "__defaultVhost__/live/cam", Publish, "");
    means("#!::r=/live/room/cam", "__defaultVhost__/live/room/cam", Play, "");
}

#[test]
fn a_host_names_the_vhost_or_the_whole_stream() {
    means("#!::h=a.b.com,r=live/cam,m=publish", "a.b.com/live/cam", Publish, "");
    means("#!::r=live/cam,h=a.b.com", "a.b.com/live/cam", Play, "");
    means("#!::h=10.0.0.1,r=live/cam", "__defaultVhost__/live/cam", Play, "");
    means("#!::h=a.b.com/live/cam,m=publish", "a.b.com/live/cam", Publish, "");
    means("#!::h=a.b.com/live/room/cam", "a.b.com/live/room/cam", Play, "");
    means("#!::h=live/cam,m=publish", "__defaultVhost__/live/cam", Publish, "");
}

#[test]
fn plain_ones_are_requests() {
    means("live/cam", "__defaultVhost__/live/cam", Play, "");
    means("cam", "__defaultVhost__/live/cam", Play, "");
    means("live/cam?token=x", "__defaultVhost__/live/cam", Play, "token=x");
    means("live/room/cam,m=publish", "__defaultVhost__/live/room/cam,m=publish", Play, "");
}

#[test]
fn what_else_is_said_is_for_the_hook() {
    means(
        "#!::r=live/cam,u=me,token=a=b,m=publish,t=stream",
        "__defaultVhost__/live/cam",
        Publish,
        "u=me&token=a=b&t=stream",
    );
    means("#!::r=live/cam?token=x&y=1,m=publish", "__defaultVhost__/live/cam", Publish, "token=x&y=1");
    means("#!::h=live/cam?secret=x,m=publish", "__defaultVhost__/live/cam", Publish, "secret=x");
    means("#!::r=live/cam,,flag,", "__defaultVhost__/live/cam", Play, "flag");
    means("#!::R=x,rr=y,r=live/cam", "__defaultVhost__/live/cam", Play, "R=x&rr=y");
}

#[test]
fn what_another_server_would_read_otherwise_is_refused() {
    for text in [
        "#!::r=live/cam&m=publish",
        "#!::r=live/cam;x",
        "#!::r=live/cam,x=1&m=publish",
        "#!::r=live/cam?r=live/other",
        "#!::r=live/cam,r=live/other",
        "#!::h=live/other,r=live/cam",
        "#!::r=live/cam,m=publish,m=request",
        "#!::m=publish?x=1,r=live/cam",
        "#!::r=live/cam#x",
        "live/cam#x",
    ] {
        assert!(matches!(parse(text), Err(SrtError::Form(_))), "{text}");
    }
}

#[test]
fn what_names_no_stream_is_refused() {
    for text in ["#!::", "#!::m=publish", "#!::h=a.b.com", "#!::h=,m=publish", "#!:{r: live/cam}", "#!x"] {
        assert!(matches!(parse(text), Err(SrtError::Form(_))), "{text}");
    }
    for text in ["", "/", "?token=x", "#!::r=", "#!::r=/,m=publish", "#!::h=live/"] {
        let empty = [StreamKeyError::EmptyStream, StreamKeyError::EmptyApp].map(SrtError::Key);
        match parse(text) {
            Err(error) => assert!(empty.contains(&error), "{text}: {error}"),
            // `live/` is a stream `live` without an app.
            Ok(asked) => assert_eq!((text, asked.key.stream()), ("#!::h=live/", "live")),
        }
    }
    for text in ["#!::r=live/cam,m=", "#!::r=live/cam,m", "#!::r=live/cam,m=push"] {
        assert_eq!(parse(text).err(), Some(SrtError::Mode), "{text}");
    }
    let long = parse(&format!("live/{}", "c".repeat(600))).err();
    assert!(matches!(long, Some(SrtError::Key(StreamKeyError::TooLong { .. }))));
}
