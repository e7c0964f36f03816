//! Whatever an origin answers: what a client reads of it leads to the balancer, to each of its addresses once for a
//! section, and every line that says nothing of addresses is there as it was.
#![no_main]

use balancer_fuzz::recognize::sdp::{Advertised, read, rewrite};
use libfuzzer_sys::fuzz_target;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

fn is_of_addresses(line: &str) -> bool {
    ["o=", "c=", "m=", "a=", "A="].iter().any(|start| line.starts_with(start))
        && (!line.starts_with(['a', 'A'])
            || ["candidate", "rtcp"]
                .contains(&line[2..].split(':').next().unwrap_or_default().trim().to_ascii_lowercase().as_str()))
}

fuzz_target!(|input: &[u8]| {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let ours = [
        SocketAddr::new(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5)), 8000),
        SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 5)), 8000),
    ];
    let to = Advertised::new(ours).expect("there are two");
    let rewritten = rewrite(text, &to);

    let others = |text: &str| -> Vec<String> {
        text.split_inclusive('\n').filter(|line| !is_of_addresses(line)).map(str::to_owned).collect()
    };
    assert_eq!(others(&rewritten), others(text));
    let mut told = 0;
    for line in rewritten.lines() {
        if line.starts_with("m=") {
            assert!(told == 0 || told == ours.len());
            told = 0;
        } else if line.starts_with("a=candidate:") {
            let address = ours[told];
            assert!(line.contains(&format!(" {} {} typ host", address.ip(), address.port())), "{line}");
            told += 1;
        }
    }
    if let Ok(answer) = read(&rewritten) {
        let mut read = answer.transports.iter().flat_map(|transport| &transport.candidates);
        assert!(read.all(|candidate| candidate.address().is_some_and(|address| ours.contains(&address))));
    }
    if let (Ok(before), Ok(after)) = (read(text), read(&rewritten)) {
        let names = |answer: &balancer_fuzz::recognize::sdp::Answer| -> Vec<String> {
            answer.transports.iter().map(|transport| transport.ufrag.clone()).collect()
        };
        assert_eq!(names(&before), names(&after));
    }
    assert_eq!(rewrite(&rewritten, &to).trim_end(), rewritten.trim_end());
});
