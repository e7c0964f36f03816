//! Answers as servers and browsers write them, beside what is to become of each.

use super::*;

struct Case {
    name: &'static str,
    answer: &'static str,
    rewritten: &'static str,
    /// `ufrag` and the addresses behind it.
    transports: &'static [(&'static str, &'static [&'static str])],
    is_lite: bool,
    has_ended: bool,
}

macro_rules! case {
    ($name:literal, $lite:literal, $ended:literal, $transports:expr) => {
        Case {
            name: $name,
            answer: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/sdp/", $name, ".answer.sdp")),
            rewritten: include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/captures/sdp/",
                $name,
                ".rewritten.sdp"
            )),
            transports: &$transports,
            is_lite: $lite,
            has_ended: $ended,
        }
    };
}

const CASES: [Case; 6] = [
    case!("srs", true, false, [("3d8t0p5q", &["10.1.0.5:8000", "10.1.0.5:8000"])]),
    case!("str0m", true, true, [("k5Vq", &["10.1.0.5:8000", "[fd00::5]:8000"])]),
    case!(
        "aiortc",
        false,
        true,
        [("o7Zd", &["10.1.0.5:44012", "198.51.100.77:51934", "10.1.0.5:44012", "198.51.100.77:51934"])]
    ),
    case!("chromium", false, false, [("e9+/", &["a name", "198.51.100.77:52301"])]),
    case!("sfu", true, true, [("y1kzo8vpe41htz5h", &["10.1.0.5:40001"]), ("9q2xw0c7ntb4ms5e", &["10.1.0.5:40003"])]),
    case!("fragment", true, true, [("N3wOne", &["[fd00::5]:8000", "10.1.0.5:8000"])]),
];

#[test]
fn the_names_and_addresses_of_an_answer_are_found() {
    for case in CASES {
        let answer = read(case.answer).unwrap();
        let found: Vec<(String, Vec<String>)> = answer.transports.iter().map(|t| (t.ufrag.clone(), shown(t))).collect();
        let expected: Vec<(String, Vec<String>)> =
            case.transports.iter().map(|(u, a)| (u.to_string(), a.iter().map(ToString::to_string).collect())).collect();
        assert_eq!(found, expected, "{}", case.name);
        assert_eq!((answer.is_lite, answer.has_ended), (case.is_lite, case.has_ended), "{}", case.name);
    }
}

fn shown(transport: &Transport) -> Vec<String> {
    let name = || "a name".to_owned();
    transport.candidates.iter().map(|c| c.address().map_or_else(name, |address| address.to_string())).collect()
}

#[test]
fn answers_lead_to_us_and_are_otherwise_what_they_were() {
    for case in CASES {
        assert_eq!(rewrite(case.answer, &advertised()), case.rewritten, "{}", case.name);
        assert_eq!(rewrite(case.rewritten, &advertised()), case.rewritten, "{}: twice is once", case.name);
    }
}

#[test]
fn where_an_answer_is_cut_off_nothing_leads_past_us() {
    for case in CASES {
        for (at, _) in case.answer.char_indices() {
            let rewritten = rewrite(&case.answer[..at], &one());
            assert!(!rewritten.contains(" 10.1.0.5 8000 ") && !rewritten.contains(".local "), "{} at {at}", case.name);
        }
    }
}

#[test]
fn the_name_of_the_session_is_that_of_its_sections() {
    let text = "v=0\r\na=ice-ufrag:abcd\r\nm=audio 9 x 1\r\na=rtcp-mux\r\na=candidate:1 1 udp 5 10.0.0.1 7 typ host\r\n\
                m=video 9 x 1\r\na=ice-ufrag:efgh\r\na=candidate:1 1 udp 5 10.0.0.1 8 typ host\r\n";
    let answer = read(text).unwrap();
    let found: Vec<_> = answer.transports.iter().map(|t| (t.ufrag.as_str(), t.candidates[0].port)).collect();
    assert_eq!(found, [("abcd", 7), ("efgh", 8)]);
}

#[test]
fn foundations_and_priorities_tell_our_addresses_apart() {
    let long = "F".repeat(32);
    for (foundation, priority) in [("1", "2130706431"), (long.as_str(), "1"), ("é", "0"), ("x", "99999999999")] {
        let many = Advertised::new((1..=8).map(|port| SocketAddr::from(([203, 0, 113, 5], port)))).unwrap();
        let text = rewrite(&format!("a=candidate:{foundation} 1 udp {priority} 10.0.0.1 9000 typ host"), &many);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
        let foundations: std::collections::BTreeSet<_> = lines.iter().map(|line| line[0]).collect();
        let priorities: Vec<u32> = lines.iter().map(|line| line[3].parse().unwrap()).collect();
        assert_eq!((lines.len(), foundations.len()), (8, 8), "{text}");
        assert!(foundations.iter().all(|f| f.len() <= "a=candidate:".len() + 32), "{text}");
        assert!(priorities.is_sorted_by(|a, b| a > b) && priorities[0] < 1 << 31, "{text}");
    }
}

#[test]
fn addresses_of_the_other_family_are_the_last_resort() {
    let near = advertised().near("fd00::5".parse().unwrap());
    let text = rewrite("a=candidate:1 1 udp 2130706431 fd00::5 9000 typ host", &near);
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split(' ').collect()).collect();
    assert_eq!([lines[0][4], lines[1][4]], ["2001:db8::5", "203.0.113.5"]);
    // What browsers give their own addresses: the pair's priority is the lesser of both.
    assert_eq!(lines[0][3], "2130706431");
    assert!(lines[1][3].parse::<u32>().unwrap() < 2_113_937_151, "{text}");
    assert_eq!(rewrite("c=IN IP6 fd00::5", &near), "c=IN IP6 2001:db8::5");
}

#[test]
fn addresses_outside_of_candidates_are_ours_too() {
    for (line, expected) in [
        ("o=- 1 2 IN IP4 10.0.0.1", "o=- 1 2 IN IP4 203.0.113.5"),
        ("o=- 1 2 IN IP6 fd00::1", "o=- 1 2 IN IP4 203.0.113.5"),
        ("o=- 1 2 IN IP4 media.local", "o=- 1 2 IN IP4 203.0.113.5"),
        ("o=- 1 2 IN IP4 127.0.0.1", "o=- 1 2 IN IP4 127.0.0.1"),
        ("o=- 1 2 IN IP6 ::", "o=- 1 2 IN IP6 ::"),
        ("o=a b 1 2 IN IP4 10.0.0.1", "o=a b 1 2 IN IP4 10.0.0.1"),
        ("c=IN IP6 fd00::1", "c=IN IP4 203.0.113.5"),
        ("c=IN IP4 10.0.0.1/127", "c=IN IP4 203.0.113.5"),
        ("c=IN IP4 0.0.0.0", "c=IN IP4 0.0.0.0"),
        ("c=IN IP6 ::", "c=IN IP6 ::"),
        ("m=audio 5000 RTP/SAVPF 0", "m=audio 8000 RTP/SAVPF 0"),
        ("m=audio 5000/2 RTP/SAVPF 0", "m=audio 8000 RTP/SAVPF 0"),
        ("m=audio 0 RTP/SAVPF 0", "m=audio 0 RTP/SAVPF 0"),
        ("m=audio 9 RTP/SAVPF 0", "m=audio 9 RTP/SAVPF 0"),
        ("a=rtcp:5001", "a=rtcp:8000"),
        ("a=rtcp:5001 IN IP6 fd00::1", "a=rtcp:8000 IN IP4 203.0.113.5"),
        ("a=rtcp:9 IN IP4 0.0.0.0", "a=rtcp:9 IN IP4 0.0.0.0"),
        ("a=rtcp-mux", "a=rtcp-mux"),
        ("a=rtcp-fb:96 nack", "a=rtcp-fb:96 nack"),
    ] {
        assert_eq!(rewrite(line, &one()), expected);
    }
}
