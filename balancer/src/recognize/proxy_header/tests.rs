//! The parser against what nginx and HAProxy write (`tests/captures/record-proxy-headers`), at every split point; and
//! against the writer.

use super::ProxyHeaderError as Error;
use super::*;
use proptest::prelude::*;

/// What the recorder's client says behind the header.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: capture\r\n\r\n";

struct Capture {
    name: &'static str,
    bytes: &'static [u8],
    /// Client and dialled address.
    announced: Option<(&'static str, &'static str)>,
}

macro_rules! capture {
    ($name:literal, $announced:expr) => {
        Capture {
            name: $name,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/captures/proxy-", $name, ".bin")),
            announced: $announced,
        }
    };
}

const CAPTURES: [Capture; 11] = [
    capture!("nginx-v1-v4", Some(("127.0.0.1:52126", "127.0.0.1:29361"))),
    capture!("nginx-v1-v6", Some(("[::1]:55894", "[::1]:29362"))),
    capture!("nginx-v1-unix", None),
    capture!("haproxy-v1-v4", Some(("127.0.0.1:58326", "127.0.0.1:29364"))),
    capture!("haproxy-v1-v6", Some(("[::1]:44842", "[::1]:29365"))),
    capture!("haproxy-v1-unix", None),
    capture!("haproxy-v2-v4", Some(("127.0.0.1:33348", "127.0.0.1:29367"))),
    capture!("haproxy-v2-v6", Some(("[::1]:43488", "[::1]:29368"))),
    capture!("haproxy-v2-unix", None),
    capture!("haproxy-v2-tlvs", Some(("127.0.0.1:39126", "127.0.0.1:29370"))),
    capture!("haproxy-v2-local", None),
];

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u16).to_be_bytes();
    [V2_SIGNATURE, &[command, family], &len, body].concat()
}

fn complete(bytes: &[u8]) -> Announced {
    match parse(bytes) {
        Ok(Progress::Complete { header, len }) if len == bytes.len() => header,
        other => panic!("{other:?} of {bytes:?}"),
    }
}

#[test]
fn every_real_header_is_read_at_every_split_point() {
    for Capture { name, bytes, announced } in &CAPTURES {
        let len = bytes.len() - if bytes.ends_with(REQUEST) { REQUEST.len() } else { 0 };
        let header = Announced { client: announced.map(|a| address(a.0)), dialled: announced.map(|a| address(a.1)) };
        for cut in 0..=bytes.len() {
            let expected = if cut < len { Progress::Incomplete } else { Progress::Complete { header, len } };
            assert_eq!(parse(&bytes[..cut]), Ok(expected), "{name} cut at {cut}");
        }
    }
}

#[test]
fn we_write_what_nginx_and_haproxy_write() {
    let mut compared = 0;
    for Capture { name, bytes, announced } in &CAPTURES {
        let Some((client, dialled)) = announced.filter(|_| !name.ends_with("tlvs")) else { continue };
        let version = if name.contains("v1") { ProxyVersion::V1 } else { ProxyVersion::V2 };
        assert_eq!([&version.write(address(client), address(dialled)), REQUEST].concat(), *bytes, "{name}");
        compared += 1;
    }
    assert_eq!(compared, 6);
}

#[test]
fn what_other_clients_begin_with_is_no_header() {
    let rtmp = [3, 0, 0, 0, 0];
    let tls = [0x16, 3, 1, 2, 0];
    for bytes in
        [&rtmp[..], &tls, b"GET / ", b"POST /", b"PUT ", b"PLAY", b"PROXYING", b"\r\nGET", b"\r\n\r\n\0\r\nQUIT\r"]
    {
        assert_eq!(parse(bytes), Ok(Progress::NotOne), "{bytes:?}");
    }
    assert_eq!(parse(b""), Ok(Progress::Incomplete));
    assert_eq!(parse(b"P"), Ok(Progress::Incomplete));
}

#[test]
fn the_longest_line_fits_and_no_longer_one_is_waited_for() {
    let longest = format!("PROXY UNKNOWN {:x<91}\r\n", "");
    assert_eq!(longest.len(), V1_LEN_MAX);
    assert_eq!(complete(longest.as_bytes()), Announced::default());
    let longer = format!("PROXY UNKNOWN {:x<92}\r\n", "");
    assert_eq!(parse(&longer.as_bytes()[..V1_LEN_MAX - 1]), Ok(Progress::Incomplete));
    assert_eq!(parse(&longer.as_bytes()[..V1_LEN_MAX]), Err(Error::LineTooLong));
    assert_eq!(parse(longer.as_bytes()), Err(Error::LineTooLong));
    let all = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    complete(format!("PROXY TCP6 {all} {all} 65535 65535\r\n").as_bytes());
}

#[test]
fn a_line_that_is_nearly_right_is_refused() {
    for rest in [
        "TCP4 1.2.3.4 5.6.7.8 1\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
        "TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
        "TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
        "TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
        "TCP4 1.2.3.04 5.6.7.8 1 2\r\n",
        "TCP4 1.2.3.256 5.6.7.8 1 2\r\n",
        "TCP4 ::1 ::1 1 2\r\n",
        "TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
        "TCP6 fe80::1%1 ::1 1 2\r\n",
        "TCP6 [::1] ::1 1 2\r\n",
        "UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
        "tcp4 1.2.3.4 5.6.7.8 1 2\r\n",
        "UNKNOWNS\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\t\r\n",
        "TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
        "\r\n",
    ] {
        assert_eq!(parse(format!("PROXY {rest}").as_bytes()), Err(Error::Line), "{rest:?}");
    }
    assert_eq!(parse(b"PROXY TCP4 \xff\r\n"), Err(Error::Line));
}

#[test]
fn a_line_feed_alone_ends_no_line() {
    assert_eq!(parse(b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n"), Ok(Progress::Incomplete));
}

#[test]
fn local_and_what_is_no_address_announce_nobody() {
    let addresses = [1; 36];
    for bytes in [
        v2(0x20, 0x21, &addresses),
        v2(0x20, 0xff, b""),
        v2(0x21, 0x00, b""),
        v2(0x21, 0x00, b"\x03\0\x01x"),
        v2(0x21, 0x12, &addresses[..12]),
        v2(0x21, 0x31, &[b'/'; 216]),
    ] {
        assert_eq!(complete(&bytes), Announced::default());
    }
}

#[test]
fn a_binary_header_that_is_wrong_is_refused_as_soon_as_that_is_seen() {
    for (bytes, error) in [
        (v2(0x11, 0x11, &[0; 12]), Error::Command(0x11)),
        (v2(0x22, 0x11, &[0; 12]), Error::Command(0x22)),
        (v2(0x21, 0x41, &[0; 12]), Error::Family(0x41)),
        (v2(0x21, 0x13, &[0; 12]), Error::Family(0x13)),
        (v2(0x21, 0x11, &[0; 11]), Error::TooShort(27)),
        (v2(0x21, 0x21, &[0; 35]), Error::TooShort(51)),
        (v2(0x21, 0x11, &[0; V2_LEN_MAX - 15]), Error::TooLong(V2_LEN_MAX + 1)),
    ] {
        let seen_after = if matches!(error, Error::Command(_)) { 13 } else { V2_FIXED_LEN };
        for cut in 0..bytes.len() {
            let expected = if cut < seen_after { Ok(Progress::Incomplete) } else { Err(error) };
            assert_eq!(parse(&bytes[..cut]), expected, "{error} cut at {cut}");
        }
    }
    complete(&v2(0x21, 0x11, &[0; V2_LEN_MAX - 16]));
}

#[test]
fn mapped_addresses_are_ipv4() {
    let header = complete(b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 1 2\r\n");
    assert_eq!(header.client, Some(address("192.0.2.7:1")));
    let line = write_v1(address("[::ffff:192.0.2.7]:1"), address("192.0.2.1:2"));
    assert_eq!(line, b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\r\n");
    let both = write_v1(address("192.0.2.7:1"), address("[2001:db8::1]:2"));
    assert_eq!(both, b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 1 2\r\n");
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|v4| IpAddr::V6(Ipv4Addr::from(v4).to_ipv6_mapped())),
        any::<[u8; 16]>().prop_map(IpAddr::from),
    ];
    (ip, any::<u16>()).prop_map(SocketAddr::from)
}

proptest! {
    #[test]
    fn what_is_written_is_read(client in any_address(), dialled in any_address(), behind: Vec<u8>) {
        for version in [ProxyVersion::V1, ProxyVersion::V2] {
            let bytes = version.write(client, dialled);
            let header = announced(client, dialled);
            let whole = [&bytes[..], &behind].concat();
            prop_assert_eq!(parse(&whole), Ok(Progress::Complete { header, len: bytes.len() }));
            prop_assert!(bytes.len() <= V1_LEN_MAX);
        }
    }

    #[test]
    fn more_bytes_never_change_an_answer(which in 0..CAPTURES.len(), at: usize, byte: u8) {
        let mut bytes = CAPTURES[which].bytes.to_vec();
        let at = at % bytes.len();
        bytes[at] = byte;
        let mut settled = None;
        for cut in 0..=bytes.len() {
            let now = parse(&bytes[..cut]);
            if let Some(before) = settled {
                prop_assert_eq!(now, before);
            }
            settled = (now != Ok(Progress::Incomplete)).then_some(now);
        }
    }
}
