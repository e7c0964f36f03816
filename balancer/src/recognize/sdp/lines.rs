//! A description cut into lines, each with the line end that it came with: what is not changed must come out as it was.

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Without its end.
    pub text: &'a str,
    /// `\r\n` or `\n`; nothing behind the last line of a text that is cut off there.
    pub end: &'a str,
}

/// RFC 8866 section 5 asks for CRLF and for readers that take LF.
pub fn lines(text: &str) -> impl Iterator<Item = Line<'_>> {
    text.split_inclusive('\n').map(|whole| {
        let text = whole.strip_suffix('\n').map_or(whole, |line| line.strip_suffix('\r').unwrap_or(line));
        Line { text, end: &whole[text.len()..] }
    })
}

impl<'a> Line<'a> {
    /// The value of a field: `IN IP4 192.0.2.1` of `c=IN IP4 192.0.2.1`.
    pub fn field(&self, name: char) -> Option<&'a str> {
        self.text.strip_prefix(name)?.strip_prefix('=')
    }

    /// The value of an attribute, which is empty for those that have none. Some readers overlook the case of its name.
    pub fn attribute(&self, wanted: &str) -> Option<&'a str> {
        let attribute = self.field('a').or_else(|| self.field('A'))?;
        let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
        name.trim().eq_ignore_ascii_case(wanted).then_some(value)
    }
}
