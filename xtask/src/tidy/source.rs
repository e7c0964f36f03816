//! A Rust file as the rules see it: line by line, code apart from comments, strings blanked, tests marked. Knows just
//! enough of the language for that.

pub struct Source<'a> {
    pub name: &'a str,
    pub lines: Vec<Line>,
}

pub struct Line {
    /// Without comments; the inside of strings is blank.
    pub code: String,
    pub comment: String,
    pub test: bool,
}

impl<'a> Source<'a> {
    pub fn new(name: &'a str, text: &str) -> Self {
        let mut lines = split(text);
        let whole = ["/tests/", "/tests.rs", "/fixture.rs", "/fixtures.rs"].iter().any(|place| name.contains(place));
        // Tests come last in a file: from the first such line on, everything is one.
        let first = lines.windows(2).position(|pair| {
            pair[0].code.contains("#[cfg(test)]") && pair[1].code.contains("mod ") && pair[1].code.contains('{')
        });
        let first = if whole { 0 } else { first.unwrap_or(lines.len()) };
        for line in &mut lines[first..] {
            line.test = true;
        }
        Self { name, lines }
    }

    /// Numbered as in an editor.
    pub fn product_lines(&self) -> impl Iterator<Item = (usize, &Line)> {
        self.lines.iter().enumerate().filter(|(_, line)| !line.test).map(|(index, line)| (index + 1, line))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Code,
    LineComment,
    BlockComment(u32),
    /// With the number of `#` that end it; `None` for a string with escapes.
    Text(Option<usize>),
}

fn split(text: &str) -> Vec<Line> {
    let mut inside = Inside::Code;
    text.lines()
        .map(|line| {
            if inside == Inside::LineComment {
                inside = Inside::Code;
            }
            split_line(line, &mut inside)
        })
        .collect()
}

fn split_line(text: &str, inside: &mut Inside) -> Line {
    let mut line = Line { code: String::new(), comment: String::new(), test: false };
    let characters: Vec<char> = text.chars().collect();
    let starts = |at: usize, what: &str| what.chars().enumerate().all(|(i, c)| characters.get(at + i) == Some(&c));
    let mut at = 0;
    while at < characters.len() {
        let character = characters[at];
        at += 1;
        match *inside {
            Inside::LineComment => line.comment.push(character),
            Inside::BlockComment(depth) => {
                line.comment.push(character);
                if starts(at - 1, "*/") {
                    *inside = if depth == 1 { Inside::Code } else { Inside::BlockComment(depth - 1) };
                    at += 1;
                } else if starts(at - 1, "/*") {
                    *inside = Inside::BlockComment(depth + 1);
                    at += 1;
                }
            }
            Inside::Text(None) if character == '\\' => at += 1,
            Inside::Text(hashes) => {
                if character == '"' && starts(at, &"#".repeat(hashes.unwrap_or(0))) {
                    at += hashes.unwrap_or(0);
                    line.code.push('"');
                    *inside = Inside::Code;
                }
            }
            Inside::Code if starts(at - 1, "//") => *inside = Inside::LineComment,
            Inside::Code if starts(at - 1, "/*") => *inside = Inside::BlockComment(1),
            Inside::Code if character == '"' => {
                line.code.push('"');
                let hashes = line.code.trim_end_matches('"').chars().rev().take_while(|c| *c == '#').count();
                let raw = line.code.trim_end_matches('"').trim_end_matches('#').ends_with('r');
                *inside = Inside::Text(raw.then_some(hashes));
            }
            // A character literal, not a lifetime: it may hold a quotation mark.
            Inside::Code if character == '\'' && characters.get(at) == Some(&'\\') => {
                at += 2;
                while characters.get(at).is_some_and(|c| *c != '\'') {
                    at += 1;
                }
                at += 1;
            }
            Inside::Code if character == '\'' && characters.get(at + 1) == Some(&'\'') => at += 2,
            Inside::Code => line.code.push(character),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str) -> Vec<String> {
        Source::new("a.rs", text).lines.into_iter().map(|line| line.code).collect()
    }

    #[test]
    fn comments_and_strings_are_not_code() {
        assert_eq!(code("let a = \"b // c\"; // d"), ["let a = \"\"; "]);
        assert_eq!(code("a /* b /* c */ d */ e"), ["a  e"]);
        assert_eq!(code("x(r#\"a\"b\"#) y"), ["x(r#\"\") y"]);
        assert_eq!(code("'\"' 'a \"\\\"\" '\\'' b"), [" 'a \"\"  b"]);
        assert_eq!(code("\"one\ntwo\" three"), ["\"", "\" three"]);
    }

    #[test]
    fn everything_below_the_test_module_is_a_test() {
        let source = Source::new("a.rs", "fn a() {}\n#[cfg(test)]\nmod tests {\n}\n");
        assert_eq!(source.product_lines().count(), 1);
    }
}
