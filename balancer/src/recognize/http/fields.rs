//! The field lines of a head: where each name and value stands. What they mean is not decided here.

use super::scan::{BLANK, Scanner, Span, Stop, TOKEN, VALUE, is};
use super::{FIELDS_MAX, HttpError};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    /// Without the blanks around it.
    pub value: Span,
}

/// A usual head has this many; more are taken, at the price of one more allocation.
const FIELDS_USUAL: usize = 16;

/// Reads up to and with the blank line.
pub fn read(scanner: &mut Scanner) -> Result<Vec<Field>, Stop> {
    let mut fields = Vec::with_capacity(FIELDS_USUAL);
    loop {
        match scanner.peek()? {
            b'\r' | b'\n' => {
                scanner.line_end()?;
                return Ok(fields);
            }
            // RFC 9112 section 5.2 asks a server to refuse it, and section 2.2 does so in front of the first field.
            b' ' | b'\t' => return Err(Stop::malformed("a folded line")),
            _ if fields.len() == FIELDS_MAX => return Err(Stop::Wrong(HttpError::TooLarge)),
            _ => fields.push(field(scanner)?),
        }
    }
}

fn field(scanner: &mut Scanner) -> Result<Field, Stop> {
    let name = scanner.run(TOKEN)?;
    match scanner.peek()? {
        b':' if name.is_empty() => return Err(Stop::malformed("a field without a name")),
        b':' => scanner.skip(),
        // RFC 9112 section 5.1: some drop such a field, some take it.
        b' ' | b'\t' => return Err(Stop::malformed("a blank before the colon of a field")),
        _ => return Err(Stop::malformed("a field name that is no token")),
    }
    scanner.run(BLANK)?;
    let value = scanner.run(VALUE)?;
    scanner.line_end()?;
    let bytes = value.of(scanner.bytes());
    let len = bytes.iter().rposition(|byte| !is(*byte, BLANK)).map_or(0, |last| last + 1);
    Ok(Field { name, value: Span::new(value.start(), value.start() + len) })
}

/// The members of a comma-separated list, RFC 9110 section 5.6.1.
pub fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}
