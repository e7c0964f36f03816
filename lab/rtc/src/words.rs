//! The few words of SDP that are read or replaced by hand: names and passwords of ICE, and candidates.

/// The value of the first `a=name:` line.
pub fn attribute<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    attributes(text, name).next()
}

pub fn attributes<'a>(text: &'a str, name: &str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.trim_end().strip_prefix("a=")?.strip_prefix(name)?.strip_prefix(':'))
}

/// The same text with every `a=ice-ufrag` and `a=ice-pwd` replaced.
pub fn with_credentials(text: &str, ufrag: &str, password: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(':') {
        Some(("a=ice-ufrag", _)) => format!("a=ice-ufrag:{ufrag}\r\n"),
        Some(("a=ice-pwd", _)) => format!("a=ice-pwd:{password}\r\n"),
        _ => format!("{}\r\n", line.trim_end()),
    });
    lines.collect()
}

/// The value of a parameter of a target's query.
pub fn parameter<'a>(target: &'a str, name: &str) -> Option<&'a str> {
    let (_, query) = target.split_once('?')?;
    query.split('&').filter_map(|pair| pair.split_once('=')).find(|(key, _)| *key == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_read_and_credentials_replaced() {
        let sdp = "v=0\r\na=ice-ufrag:old\r\na=ice-pwd:older\r\na=candidate:1 1 udp 1 10.0.0.1 8000 typ host\r\n";
        assert_eq!(attribute(sdp, "candidate"), Some("1 1 udp 1 10.0.0.1 8000 typ host"));
        let new = with_credentials(sdp, "a", "b");
        assert_eq!((attribute(&new, "ice-ufrag"), attribute(&new, "ice-pwd")), (Some("a"), Some("b")));
        assert_eq!(new.lines().count(), 4);
    }

    #[test]
    fn parameters_are_found_by_their_whole_name() {
        assert_eq!(parameter("/rtc/v1/whip/?app=live&stream=s1", "stream"), Some("s1"));
        assert_eq!(parameter("/rtc/v1/whip/?upstream=s2", "stream"), None);
    }
}
