//! What real clients and real servers said to each other, recorded by `tests/captures/rtsp/record`, played again through
//! the balancer and cut wherever it can be cut.

use super::*;
use crate::flow::Role;

struct Capture {
    name: &'static str,
    client: &'static [u8],
    origin: &'static [u8],
    role: Role,
    stream: &'static str,
    interleaved: bool,
    tracks: usize,
}

macro_rules! capture {
    ($name:literal, $role:ident, $stream:literal, $interleaved:literal, $tracks:literal) => {
        Capture {
            name: $name,
            client: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/rtsp/", $name, ".client.bin")),
            origin: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/rtsp/", $name, ".origin.bin")),
            role: Role::$role,
            stream: concat!("__defaultVhost__/live/", $stream),
            interleaved: $interleaved,
            tracks: $tracks,
        }
    };
}

const CAPTURES: [Capture; 8] = [
    capture!("ffmpeg-play-tcp", Play, "s1", true, 2),
    capture!("ffmpeg-play-udp", Play, "s1", false, 2),
    capture!("ffmpeg-publish-tcp", Publish, "s1", true, 2),
    capture!("ffmpeg-publish-udp", Publish, "s1", false, 2),
    capture!("gst-play-tcp", Play, "s1", true, 2),
    capture!("gst-play-udp", Play, "s1", false, 2),
    capture!("gst-publish-tcp", Publish, "pub", true, 1),
    capture!("gst-publish-udp", Publish, "pub", false, 1),
];

#[derive(Debug, PartialEq)]
struct Outcome {
    to_client: Vec<u8>,
    to_origin: Vec<u8>,
    events: Vec<Event>,
    /// What the legs would be joined for, and the client's bytes behind it.
    trigger: Option<Vec<u8>>,
}

impl Capture {
    /// What the client said, without the PAUSE and TEARDOWN that it kept for later: behind PLAY in one piece they would
    /// hinder the join.
    fn said(&self) -> &'static [u8] {
        let find = |word: &[u8]| self.client.windows(word.len()).position(|bytes| bytes == word);
        let later = [&b"PAUSE rtsp:"[..], b"TEARDOWN rtsp:"].iter().filter_map(|word| find(word)).min();
        &self.client[..later.filter(|_| self.interleaved).unwrap_or(self.client.len())]
    }
}

/// Plays a capture: the client's bytes in the given pieces, the origin's answers in pieces of `grain` bytes.
fn play(capture: &Capture, pieces: &[&[u8]], grain: usize) -> Outcome {
    let answers = messages_before_media(capture.origin);
    let mut table = Table::new();
    let mut trigger: Option<Vec<u8>> = None;
    let mut answered = 0;
    for piece in pieces {
        if let Some(trigger) = &mut trigger {
            trigger.extend_from_slice(piece);
            continue;
        }
        table.client(piece).unwrap();
        loop {
            let asked = messages(&table.to_origin);
            let Some(request) = asked.get(answered) else { break };
            answered += 1;
            // The recorder hung up before the answer to the last TEARDOWN.
            let Some(answer) = answers.iter().find(|a| a.cseq() == request.cseq()) else { break };
            for part in answer.clone().encode().chunks(grain) {
                table.origin(part).unwrap();
            }
        }
        trigger = table.events.iter().find_map(|event| match event {
            Event::Ready { trigger } => Some(trigger.clone()),
            _ => None,
        });
    }
    table.events.retain(|event| !matches!(event, Event::Ready { .. }));
    Outcome { to_client: table.to_client, to_origin: table.to_origin, events: table.events, trigger }
}

fn messages_before_media(bytes: &[u8]) -> Vec<Message> {
    let mut reader = Reader::new(8192);
    reader.push(bytes);
    let mut found = Vec::new();
    while let Some(framed) = reader.read().unwrap() {
        found.extend(match framed {
            Framed::Message(message) => Some(message),
            Framed::Interleaved(_) => None,
        });
    }
    found
}

#[test]
fn every_client_is_recognized_at_every_split() {
    for capture in &CAPTURES {
        let whole = play(capture, &[capture.said()], usize::MAX);
        let wanted = whole.events.iter().find_map(|event| match event {
            Event::Recognized(wanted) => Some(wanted),
            _ => None,
        });
        let wanted = wanted.unwrap_or_else(|| panic!("{}: no stream", capture.name));
        assert_eq!((wanted.key.to_string().as_str(), wanted.role), (capture.stream, capture.role), "{}", capture.name);
        for at in 0..=capture.said().len().min(1900) {
            let (a, b) = capture.said().split_at(at);
            assert_eq!(play(capture, &[a, b], usize::MAX), whole, "{} cut at {at}", capture.name);
        }
    }
}

#[test]
fn every_origin_is_understood_in_pieces_of_any_size() {
    for capture in &CAPTURES {
        let whole = play(capture, &[capture.said()], usize::MAX);
        for grain in (1..40).chain([100, 333, 1000]) {
            assert_eq!(play(capture, &[capture.said()], grain), whole, "{} by {grain}", capture.name);
        }
    }
}

#[test]
fn interleaved_media_are_joined_from_the_clients_own_words_on() {
    for capture in CAPTURES.iter().filter(|capture| capture.interleaved) {
        let outcome = play(capture, &[capture.said()], usize::MAX);
        let trigger = outcome.trigger.unwrap_or_else(|| panic!("{}: never ready", capture.name));
        assert!(capture.said().ends_with(&trigger), "{}", capture.name);
        let word: &[u8] = if capture.role == Role::Play { b"PLAY " } else { b"RECORD " };
        assert!(trigger.starts_with(word), "{}", capture.name);
        assert!(outcome.events.iter().all(|e| matches!(e, Event::Recognized(_))), "{:?}", outcome.events);
    }
}

#[test]
fn datagrams_are_bound_for_every_track_before_they_start_and_unbound_at_the_end() {
    for capture in CAPTURES.iter().filter(|capture| !capture.interleaved) {
        let outcome = play(capture, &[capture.said()], usize::MAX);
        let bound = outcome.events.iter().filter(|e| matches!(e, Event::Bound { .. })).count();
        assert_eq!(bound, capture.tracks, "{}: {:?}", capture.name, outcome.events);
        let started = outcome.events.iter().position(|e| *e == Event::Started).unwrap();
        let last_bound = outcome.events.iter().rposition(|e| matches!(e, Event::Bound { .. })).unwrap();
        assert!(last_bound < started, "{}", capture.name);
        // Neither end hears of the other's ports or address.
        let heard = String::from_utf8(outcome.to_client).unwrap();
        assert!(heard.contains(&format!("server_port={}", ports(1).to_client)), "{heard}");
        let asked = String::from_utf8(outcome.to_origin).unwrap();
        assert!(asked.contains(&format!("client_port={}", ports(1).to_origin)), "{asked}");
        for transport in heard.lines().filter(|line| line.starts_with("Transport:")) {
            assert!(!transport.contains("source=") || transport.contains(&format!("source={VIP}")), "{transport}");
        }
    }
}

#[test]
fn curls_options_are_answered_here() {
    let bytes = include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/rtsp/curl-options.client.bin"));
    let mut table = Table::new();
    let answer = table.answered(bytes);
    assert_eq!((status(&answer), answer.cseq()), (200, Some(1)));
    assert!(answer.header("Public").unwrap().contains("DESCRIBE"));
}
