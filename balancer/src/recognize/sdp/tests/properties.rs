//! What holds for any text at all.

use super::*;
use proptest::prelude::*;

/// Words of SDP in any order: closer to it than random text gets.
fn text() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("v=0"),
        Just("o=- 1 2 IN IP4 10.0.0.1"),
        Just("c=IN IP4 10.0.0.1"),
        Just("m=audio 5000 UDP/TLS/RTP/SAVPF 0"),
        Just("a=candidate:1 1 udp 2130706431 10.0.0.1 5000 typ host"),
        Just("a=candidate:2 1 UDP 1694498815 10.0.0.2 5001 typ srflx raddr 10.0.0.1 rport 5000 generation 0"),
        Just("a=candidate:3 1 tcp 1518280447 10.0.0.1 9 typ host"),
        Just("a=ice-ufrag:abcd"),
        Just("a=rtcp:5000 IN IP4 10.0.0.1"),
        Just("\r\n"),
        Just("\n"),
        Just("\r"),
        Just(" "),
    ];
    let any = "(\\PC|[\r\n :=]){0,8}";
    prop::collection::vec(prop_oneof![4 => word.prop_map(str::to_owned), 1 => any], 0..40).prop_map(|w| w.concat())
}

proptest! {
    #[test]
    fn nothing_leads_past_us(text in text()) {
        let rewritten = rewrite(&text, &advertised());
        let ours: Vec<SocketAddr> = advertised().iter().collect();
        // What can be read leads to us alone.
        let again = read(&rewritten).unwrap_or_default();
        for transport in &again.transports {
            prop_assert!(transport.candidates.iter().all(|c| c.address().is_some_and(|a| ours.contains(&a))));
        }
        for line in rewritten.lines().filter(|line| line.starts_with("a=candidate:")) {
            prop_assert!(line.contains(" 203.0.113.5 8000 ") || line.contains(" 2001:db8::5 8000 "), "{}", line);
        }
        // But for the line end of a text that has none.
        let twice = rewrite(&rewritten, &advertised());
        prop_assert_eq!(twice.trim_end(), rewritten.trim_end());
    }

    #[test]
    fn every_other_line_stays_as_it_is(text in text()) {
        let rewritten = rewrite(&text, &one());
        let kept = |text: &str| {
            let is_kept = |line: &&str| !["a=candidate", "o=", "c=", "m=", "a=rtcp:"].iter().any(|start| line.starts_with(start));
            text.split_inclusive('\n').filter(is_kept).map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(kept(&rewritten), kept(&text));
    }
}
