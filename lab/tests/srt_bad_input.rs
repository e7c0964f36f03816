//! SRT that is wrong, or means no good: nothing of it reaches an origin, each has its number, everybody else is served.

use balancer_lab::requirements::{Need, met};
use balancer_lab::scene::{Plot, SOON, Scene};
use balancer_lab::srt_lite::packet::{EXTENSION_STREAM_ID, HANDSHAKE, Handshake, Kind, WAVE_A_HAND, control, data};
use balancer_lab::srt_lite::{Answer, Caller, SrtManners};
use balancer_lab::wait::wait_until;
use std::time::Duration;

const NEEDS: &[Need] = &[Need::Network, Need::Balancer];
const PUBLISH: &[u8] = b"#!::r=live/s1,m=publish";
/// Long enough for an answer, if there were one.
const SILENCE: Duration = Duration::from_millis(500);

fn scene(xdp_mode: &'static str) -> Scene {
    let plot = Plot::default().settings(move |settings| settings.xdp_mode = xdp_mode);
    plot.srt_lite(|_| SrtManners::default()).build().unwrap()
}

fn bind(scene: &Scene) -> Caller {
    Caller::bind(&scene.dc.clients[0].netns, scene.srt_vip()).unwrap()
}

fn induced(scene: &Scene) -> Caller {
    let mut caller = bind(scene);
    caller.induce().unwrap();
    caller
}

/// Runs it with the fast path and without; afterwards the origin has heard nothing, and a good caller is served.
fn nothing_arrives(test: impl Fn(&Scene)) {
    if !met(NEEDS) {
        return;
    }
    for xdp_mode in ["native", "off"] {
        let scene = scene(xdp_mode);
        test(&scene);
        assert_eq!(scene.srt_lite[0].datagrams(), 0, "{xdp_mode}: {:#?}", scene.srt_lite[0].arrived());
        assert!(scene.balancer.flows().unwrap().is_empty());
        let mut good = induced(&scene);
        let conclusion = good.conclusion(PUBLISH);
        assert!(matches!(good.conclude(&conclusion).unwrap(), Answer::Accepted(_)), "{xdp_mode}");
    }
}

fn counted(scene: &Scene, reason: &str, least: f64) {
    let count = || scene.balancer.reason(reason).unwrap();
    wait_until(&format!("{least} counted as {reason}"), SOON, || count() >= least)
        .unwrap_or_else(|error| panic!("{error:#}: {}", count()));
}

fn unanswered(caller: &mut Caller, packet: &[u8]) {
    caller.socket.send(packet).unwrap();
    assert_eq!(caller.wait_handshake(SILENCE).unwrap(), None);
}

#[test]
fn a_conclusion_without_an_induction() {
    nothing_arrives(|scene| {
        let mut caller = bind(scene);
        for cookie in [0, 1, 0xffff_ffff, 0x1234_5678] {
            let conclusion = Handshake { cookie, ..caller.conclusion(PUBLISH) };
            unanswered(&mut caller, &conclusion.bytes());
        }
        counted(scene, "srt_bad_cookie", 4.0);
    });
}

#[test]
fn a_cookie_that_was_given_to_somebody_else() {
    nothing_arrives(|scene| {
        let (owner, mut thief) = (induced(scene), bind(scene));
        thief.cookie = owner.cookie;
        let conclusion = thief.conclusion(PUBLISH);
        unanswered(&mut thief, &conclusion.bytes());
        counted(scene, "srt_bad_cookie", 1.0);
    });
}

#[test]
fn an_induction_is_answered_as_its_sender_expects() {
    nothing_arrives(|scene| {
        let mut caller = bind(scene);
        let answer = caller.induce().unwrap();
        assert_eq!((answer.version, answer.extension_field), (5, 0x4a17), "{answer:x?}");
        assert_eq!((answer.destination, answer.kind), (caller.id, 1), "{answer:x?}");
        assert_ne!(answer.cookie, 0);
        // The same caller gets the same cookie within a minute; another one does not.
        let again = caller.induce().unwrap().cookie;
        let other = bind(scene).induce().unwrap().cookie;
        assert!(other != again, "{answer:x?}");
    });
}

#[test]
fn a_rendezvous_and_a_caller_of_version_4() {
    nothing_arrives(|scene| {
        let mut caller = bind(scene);
        let wave = Handshake { kind: WAVE_A_HAND, version: 5, ..Handshake::induction(caller.id) };
        let answer = caller.ask(&wave.bytes()).unwrap();
        assert!(answer.kind >= 1000 && answer.kind < 5000, "{answer:x?}");
        let mut caller = induced(scene);
        let old = Handshake { version: 4, extension_field: 2, extensions: Vec::new(), ..caller.conclusion(b"") };
        let answer = caller.conclude(&old).unwrap();
        assert!(matches!(answer, Answer::Refused(_)), "{answer:?}");
    });
}

#[test]
fn stream_ids_of_every_length() {
    if !met(NEEDS) {
        return;
    }
    for xdp_mode in ["native", "off"] {
        let scene = scene(xdp_mode);
        let prefix = b"#!::m=publish,r=live/";
        let id = |length: usize| [&prefix[..], &vec![b'x'; length - prefix.len()]].concat();
        let mut longest = induced(&scene);
        let conclusion = longest.conclusion(&id(512));
        let answer = longest.conclude(&conclusion).unwrap();
        // Either it is let in as it is, or it is told that this is no stream.
        if let Answer::Accepted(_) = answer {
            assert_eq!(scene.srt_lite[0].taken()[0].stream_id.as_bytes(), id(512));
        }
        let before = scene.srt_lite[0].datagrams();
        for length in [513, 516, 1000, 1400] {
            let mut caller = induced(&scene);
            caller.socket.send(&caller.conclusion(&id(length)).bytes()).unwrap();
            let answer = caller.wait_handshake(SILENCE).unwrap();
            assert!(answer.is_none_or(|answer| answer.kind >= 1000 && answer.kind < 5000), "{xdp_mode}: {length}");
        }
        for empty in ["", "#!::", "#!::r=", "#!::r=,m=publish", "#!::m=publish", "/"] {
            let mut caller = induced(&scene);
            caller.socket.send(&caller.conclusion(empty.as_bytes()).bytes()).unwrap();
            let answer = caller.wait_handshake(SILENCE).unwrap();
            assert!(answer.is_none_or(|answer| answer.kind >= 1000 && answer.kind < 5000), "{xdp_mode}: {empty:?}");
        }
        assert_eq!(scene.srt_lite[0].datagrams(), before, "{xdp_mode}");
    }
}

#[test]
fn handshakes_that_are_cut_off_anywhere() {
    nothing_arrives(|scene| {
        let mut caller = induced(scene);
        let whole = caller.conclusion(PUBLISH).bytes();
        // What ends where an extension ends is a conclusion without a stream.
        for length in (0..whole.len()).filter(|length| *length < HANDSHAKE || length % 4 != 0) {
            let _ = caller.socket.send(&whole[..length]);
        }
        let induction = Handshake::induction(caller.id).bytes();
        for length in 0..HANDSHAKE {
            let _ = caller.socket.send(&induction[..length]);
        }
        let answer = caller.wait_handshake(SILENCE).unwrap();
        assert!(answer.as_ref().is_none_or(|answer| answer.kind >= 1000), "{answer:x?}");
    });
}

#[test]
fn extensions_whose_lengths_lie() {
    nothing_arrives(|scene| {
        for words in [0u16, 1, 5, 7, 100, 0x7fff, 0xffff] {
            let mut caller = induced(scene);
            let mut conclusion = caller.conclusion(PUBLISH).bytes();
            // The stream id is behind the header of the first extension, its three words, and a header.
            let at = HANDSHAKE + 16;
            assert_eq!(conclusion[at..at + 2], EXTENSION_STREAM_ID.to_be_bytes());
            let right = (PUBLISH.len() / 4 + 1) as u16;
            if words == right {
                continue;
            }
            conclusion[at + 2..at + 4].copy_from_slice(&words.to_be_bytes());
            caller.socket.send(&conclusion).unwrap();
            let answer = caller.wait_handshake(SILENCE).unwrap();
            assert!(
                answer.as_ref().is_none_or(|answer| answer.kind >= 1000 && answer.kind < 5000),
                "{words}: {answer:x?}"
            );
        }
    });
}

#[test]
fn packets_that_belong_to_no_flow() {
    nothing_arrives(|scene| {
        let mut caller = bind(scene);
        for packet in [
            data(1, 77, &[0x47; 1316]),
            control(Kind::Shutdown, 77),
            control(Kind::KeepAlive, 77),
            control(Kind::OtherControl(0x7fff), 77),
            vec![0; 1472],
            vec![0xff; 1472],
        ] {
            for _ in 0..20 {
                caller.socket.send(&packet).unwrap();
            }
        }
        assert_eq!(caller.wait_handshake(SILENCE).unwrap(), None);
    });
}
