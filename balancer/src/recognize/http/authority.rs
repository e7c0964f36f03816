//! `host[:port]`: what may stand there. No user, no spaces, no list.

/// An empty one is fine where it stands for "none".
pub fn is_valid(text: &[u8]) -> bool {
    let (host_is_fine, port) = match text.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|byte| *byte == b']') else { return false };
            let fine =
                end > 0 && rest[..end].iter().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
            (fine, &rest[end + 1..])
        }
        None => {
            let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
            let of_name = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'~');
            // A port alone names nothing.
            let fine = text[..end].iter().all(of_name) && (end > 0 || text.is_empty());
            (fine, &text[end..])
        }
    };
    host_is_fine && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// RFC 3986 allows an empty one, which means the scheme's.
fn is_port(text: &[u8]) -> bool {
    text.len() <= 5 && text.iter().all(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn a_host_is_a_name_or_an_address_and_perhaps_a_port() {
        for good in
            ["", "a", "a.b.com", "a_b-c.", "10.0.0.1:80", "a:", "[::1]", "[2001:db8::1]:8080", "[::ffff:1.2.3.4]"]
        {
            assert!(is_valid(good.as_bytes()), "{good}");
        }
        for bad in [
            ":80", "a b", "u@a", "u:p@a", "a,b", "a/b", "a:80:80", "a:x", "a:123456", "[::1", "[]", "[::1]x", "::1",
            "é",
        ] {
            assert!(!is_valid(bad.as_bytes()), "{bad}");
        }
    }
}
