//! What is refused, each for its own reason: most of these are how requests are smuggled.

use super::*;

/// Refused with a 400, and already with the bytes up to the first wrong one.
fn malformed(bytes: impl AsRef<[u8]>, why: &'static str) {
    let bytes = bytes.as_ref();
    assert_eq!(refused(bytes), HttpError::Malformed(why), "{}", bytes.escape_ascii());
    assert_eq!(HttpError::Malformed(why).status(), 400);
}

fn with_field(field: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n")
}

fn with_target(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n")
}

#[test]
fn a_line_ends_in_cr_lf_and_in_nothing_else() {
    let bare = "a line that ends in a bare LF";
    malformed("GET / HTTP/1.1\nHost: h\r\n\r\n", bare);
    malformed("GET / HTTP/1.1\r\nHost: h\n\r\n", bare);
    malformed("GET / HTTP/1.1\r\nHost: h\r\n\n", bare);
    malformed("\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", "a method that is no token");
    let cr = "a CR that ends no line";
    malformed("GET / HTTP/1.1\r\nHost: h\rX: y\r\n\r\n", cr);
    malformed("GET / HTTP/1.1\r\nHost: h\r\n\rX", cr);
    malformed("GET / HTTP/1.1\r\r\nHost: h\r\n\r\n", cr);
}

#[test]
fn a_field_stands_on_one_line() {
    malformed(with_field("X: a\r\n b"), "a folded line");
    malformed(with_field("X: a\r\n\tTransfer-Encoding: chunked"), "a folded line");
    malformed("GET / HTTP/1.1\r\n Host: h\r\n\r\n", "a folded line");
}

#[test]
fn a_name_is_a_token_with_its_colon_behind_it() {
    malformed(with_field("Transfer-Encoding : chunked"), "a blank before the colon of a field");
    malformed(with_field("X\t: y"), "a blank before the colon of a field");
    malformed(with_field(": y"), "a field without a name");
    for name in ["X(", "X\0", "\u{b}X", "Ü", "X@Y", "X\"Y", "no colon"] {
        let why =
            if name.contains(' ') { "a blank before the colon of a field" } else { "a field name that is no token" };
        malformed(with_field(&format!("{name}: y")), why);
    }
    malformed(with_field("no-colon"), "a field name that is no token");
}

#[test]
fn a_value_holds_no_control_character() {
    for byte in (0..0x20).chain([0x7F]).filter(|byte| ![b'\t', b'\r', b'\n'].contains(byte)) {
        malformed(with_field(&format!("X: a{}b", char::from(byte))), "a control character");
    }
}

#[test]
fn a_target_holds_no_space_and_no_fragment() {
    malformed(with_target("/a b"), "a request line that does not end in its version");
    malformed("GET  / HTTP/1.1\r\nHost: h\r\n\r\n", "a request without a target");
    malformed("GET / HTTP/1.1 \r\nHost: h\r\n\r\n", "a request line that does not end in its version");
    malformed("GET /  HTTP/1.1\r\nHost: h\r\n\r\n", "a request line that does not end in its version");
    for byte in ["#", "\\", "\"", "<", "\u{7f}", "\0", "\t", "\u{1b}"] {
        malformed(with_target(&format!("/a{byte}b")), "a target with a byte that has no place there");
    }
    malformed(b"GET /\xFF HTTP/1.1\r\nHost: h\r\n\r\n", "a target that is not UTF-8");
    malformed("GET /\nHost: h\r\n\r\n", "a target with a byte that has no place there");
}

#[test]
fn there_is_one_host_and_it_is_one() {
    malformed("GET / HTTP/1.1\r\n\r\n", "no Host field");
    malformed("GET http://a/ HTTP/1.1\r\n\r\n", "no Host field");
    malformed(with_field("Host: h"), "several Host fields");
    malformed(with_field("hOST: other"), "several Host fields");
    malformed("GET / HTTP/1.0\r\nHost: h\r\nHost: h\r\n\r\n", "several Host fields");
    for host in ["a b", "a, b", "u@a", "a/b", "a:b", "[::1", "a\tb", "ä"] {
        malformed(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), "a Host that is no host");
    }
}

#[test]
fn an_absolute_target_has_a_plain_authority() {
    for target in ["http://u@a/", "http://u:p@a/", "http:///x", "http://?x", "http://a:b/", "http://a,b/"] {
        malformed(with_target(target), "an authority that is no host");
    }
    for target in ["ftp://a/", "a:80", "live/s1.flv", "rtmp://a/b", "http:/a", "*"] {
        malformed(with_target(target), "a target of an unknown form");
    }
    malformed("OPTIONS *x HTTP/1.1\r\nHost: h\r\n\r\n", "a target of an unknown form");
}

#[test]
fn a_length_is_one_plain_number() {
    for length in
        ["", "+1", "-1", "1,1", "1, 1", "0x1", "1 1", "1.0", "9223372036854775808", "99999999999999999999999", "١"]
    {
        malformed(with_field(&format!("Content-Length: {length}")), "a Content-Length that is no number");
    }
    malformed(with_field("Content-Length: 1\r\nContent-Length: 2"), "several Content-Length fields");
    malformed(with_field("Content-Length: 1\r\ncontent-length: 1"), "several Content-Length fields");
}

#[test]
fn a_body_has_one_kind_of_end() {
    let both = "Content-Length beside Transfer-Encoding";
    malformed(with_field("Content-Length: 1\r\nTransfer-Encoding: chunked"), both);
    malformed(with_field("Transfer-Encoding: chunked\r\nContent-Length: 0"), both);
    let other = "a Transfer-Encoding other than one chunked";
    for coding in [
        "",
        "identity",
        "gzip, chunked",
        "chunked, identity",
        "chunked, chunked",
        "xchunked",
        "chunked;x",
        "\u{b}chunked",
    ] {
        let why = if coding.starts_with('\u{b}') { "a control character" } else { other };
        malformed(with_field(&format!("Transfer-Encoding: {coding}")), why);
    }
    malformed(with_field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"), other);
    malformed("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", "Transfer-Encoding in HTTP/1.0");
}

#[test]
fn a_method_is_a_token() {
    for start in ["(GET / ", "G(ET / ", "GET\t/ ", " GET / ", "\x16\x03\x01", "\x03\0\0", "{\"a\":1}", "GET:/ "] {
        malformed(start, "a method that is no token");
    }
    assert_eq!(refused("CONNECT a.b.com:80 HTTP/1.1\r\n\r\n").status(), 501);
}

#[test]
fn only_two_versions_are_served() {
    for line in ["GET / HTTP/2.0", "GET / HTTP/1.2", "GET / HTTP/0.9", "GET / HTTP/2", "PRI * HTTP/2.0", "GET /"] {
        assert_eq!(refused(format!("{line}\r\n\r\n")), HttpError::Version, "{line}");
    }
    assert_eq!(HttpError::Version.status(), 505);
    for version in ["http/1.1", "HTTP/1.10", "HTTP/1,1", "HTTP/11", "HTTP/", "HTTPS/1.1", "RTSP/1.0"] {
        malformed(format!("GET / {version}\r\n\r\n"), "a request line that does not end in its version");
    }
}

#[test]
fn a_path_decodes_and_does_not_climb() {
    for path in ["/%", "/%4", "/%4g", "/a%%20", "/%é0"] {
        malformed(with_target(path), "a percent sign without two hexadecimal digits");
    }
    malformed(with_target("/live/s%00.flv"), "a NUL in the path");
    for path in ["/..", "/../x", "/a/../x", "/%2e%2E/x", "/a/.%2e", "/a%2f..%2Fx", "/a%5c..%5cx", "http://a/../x"] {
        malformed(with_target(path), "a path that climbs");
    }
    for path in ["/...", "/a..b", "/a/..b", "/?../..%", "/%41%e9"] {
        complete(with_target(path));
    }
}

#[test]
fn a_connection_has_few_options() {
    complete(with_field(&format!("Connection: {}\r\nConnection: x", ["x"; 15].join(","))));
    malformed(with_field(&format!("Connection: {}", [""; 17].join(","))), "too many options in Connection");
}

#[test]
fn a_head_has_an_end() {
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    complete(fields(FIELDS_MAX));
    assert_eq!(refused(fields(FIELDS_MAX + 1)), HttpError::TooLarge);
    assert_eq!(HttpError::TooLarge.status(), 431);
    let line = |len: usize| format!("GET /{} HTTP/1.1", "a".repeat(len - "GET / HTTP/1.1".len()));
    complete(format!("{}\r\nHost: h\r\n\r\n", line(REQUEST_LINE_LEN_MAX)));
    let long = format!("{}\r\nHost: h\r\n\r\n", line(REQUEST_LINE_LEN_MAX + 1));
    assert_eq!(refused(&long), HttpError::UriTooLong);
    assert_eq!(refused(&long[..REQUEST_LINE_LEN_MAX + 1]), HttpError::UriTooLong);
    assert_eq!(HttpError::UriTooLong.status(), 414);
}
