//! What no server should write.

use super::*;

#[test]
fn whatever_is_no_udp_candidate_goes() {
    for value in [
        "1 1 tcp 1518280447 10.0.0.1 9 typ host tcptype active",
        "1 1 ssltcp 1518280447 10.0.0.1 443 typ host",
        "1 1 udp 41885439 198.51.100.1 3478 typ relay raddr 0.0.0.0 rport 0",
        "1 2 udp 2130706430 10.0.0.1 8001 typ host",
        "1 1 udp 2130706431 10.0.0.1 0 typ host",
        "1 1 udp 2130706431 10.0.0.1 65536 typ host",
        "1 1 udp 2130706431 10.0.0.1 8000 host",
        "1 1 udp 2130706431 10.0.0.1",
        "1 x udp 2130706431 10.0.0.1 8000 typ host",
        "",
        " ",
    ] {
        for name in ["a=candidate", "a=Candidate", "A=candidate "] {
            let text = format!("a=x\r\n{name}:{value}\r\na=y\n");
            assert_eq!(rewrite(&text, &advertised()), "a=x\r\na=y\n", "{value}");
        }
    }
}

#[test]
fn rtcp_needs_the_port_of_its_media() {
    let with = |mux: &str| {
        format!("v=0\nm=audio 9 x 0\na=ice-ufrag:abcd\n{mux}a=candidate:1 2 udp 2130706430 10.0.0.1 8001 typ host\n")
    };
    assert_eq!(read(&with("")), Err(SdpError::RtcpApart));
    let answer = read(&with("a=rtcp-mux\n")).unwrap();
    assert!(answer.transports[0].candidates.is_empty(), "what was the second component's is not asked for");
}

#[test]
fn a_name_that_no_stun_request_can_carry_is_refused() {
    for name in ["", " ", "a:b", "a b", "ä", &"x".repeat(257)] {
        assert_eq!(read(&format!("v=0\na=ice-ufrag:{name}\n")), Err(SdpError::Ufrag), "{name}");
    }
    assert_eq!(read(&format!("a=ice-ufrag:{}\n", "x".repeat(256))).unwrap().transports.len(), 1);
    assert_eq!(read("v=0\nm=audio 9 x 0\na=candidate:1 1 udp 1 10.0.0.1 1 typ host\n").unwrap().transports, []);
}

#[test]
fn there_are_limits() {
    let sections = |count| format!("v=0\n{}", "m=audio 9 x 0\n".repeat(count));
    assert!(read(&sections(SECTIONS_MAX - 1)).is_ok());
    assert_eq!(read(&sections(SECTIONS_MAX)), Err(SdpError::TooMuch));
    let candidates = |count| "a=candidate:1 1 udp 1 10.0.0.1 1 typ host\n".repeat(count);
    assert!(read(&candidates(CANDIDATES_MAX)).is_ok());
    assert_eq!(read(&candidates(CANDIDATES_MAX + 1)), Err(SdpError::TooMuch));
    assert_eq!(Advertised::new([]), None);
    let many = Advertised::new((1..=99).map(|port| SocketAddr::from(([10, 0, 0, 1], port / 2)))).unwrap();
    assert_eq!(many.iter().count(), Advertised::MAX);
}

#[test]
fn what_is_no_white_space_of_the_description_stays() {
    let to = Advertised::new([SocketAddr::from(([203, 0, 113, 5], 8000))]).unwrap();
    let text = "v=0\r\na=candidate:1 1 udp 1 10.0.0.1 1 typ host \u{b}a=end-of-candidates\r\n";
    let once = rewrite(text, &to);
    assert!(once.contains(" \u{b}a=end"), "{once:?}");
    assert_eq!(rewrite(&once, &to), once);
}
