//! AMF0 values, as commands carry them: read with limits, written back. Owns nothing of their meaning.
//!
//! Source: "Action Message Format -- AMF 0", section 2. An AMF3 value (marker 0x11) inside a command is refused: no
//! client known sends one before it publishes or plays.

use super::RtmpError;

/// Nesting of objects and arrays; clients nest two deep.
const DEPTH_MAX: usize = 8;
/// Values in one message; OBS's `connect` has about 20.
const VALUES_MAX: usize = 1024;

/// A value. Texts are bytes: old encoders send Latin-1 or GBK, and a name is judged only where it is used.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Number(f64),
    Boolean(bool),
    Text(Vec<u8>),
    Object(Properties),
    Null,
    Undefined,
    Reference(u16),
    EcmaArray(Properties),
    StrictArray(Vec<Value>),
    Date { milliseconds: f64, zone: i16 },
    Unsupported,
    Xml(Vec<u8>),
    TypedObject { class: Vec<u8>, properties: Properties },
}

pub type Properties = Vec<(Vec<u8>, Value)>;

mod marker {
    pub const NUMBER: u8 = 0x00;
    pub const BOOLEAN: u8 = 0x01;
    pub const STRING: u8 = 0x02;
    pub const OBJECT: u8 = 0x03;
    pub const NULL: u8 = 0x05;
    pub const UNDEFINED: u8 = 0x06;
    pub const REFERENCE: u8 = 0x07;
    pub const ECMA_ARRAY: u8 = 0x08;
    pub const OBJECT_END: u8 = 0x09;
    pub const STRICT_ARRAY: u8 = 0x0a;
    pub const DATE: u8 = 0x0b;
    pub const LONG_STRING: u8 = 0x0c;
    pub const UNSUPPORTED: u8 = 0x0d;
    pub const XML: u8 = 0x0f;
    pub const TYPED_OBJECT: u8 = 0x10;
}

impl Value {
    pub fn text(text: &str) -> Self {
        Self::Text(text.as_bytes().to_vec())
    }

    pub fn as_text(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub fn as_number(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            _ => None,
        }
    }

    /// A property of an object, whichever of its three spellings was used.
    pub fn property(&self, name: &str) -> Option<&Value> {
        match self {
            Self::Object(properties) | Self::EcmaArray(properties) | Self::TypedObject { properties, .. } => {
                properties.iter().find(|(key, _)| key == name.as_bytes()).map(|(_, value)| value)
            }
            _ => None,
        }
    }
}

/// All values of a message.
pub fn read_all(bytes: &[u8]) -> Result<Vec<Value>, RtmpError> {
    let mut reader = Reader { bytes, values_left: VALUES_MAX };
    let mut values = Vec::new();
    while !reader.bytes.is_empty() {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

/// The first `count` values, and nothing of what stands behind them.
///
/// A command is understood by its first few; a client's private tail must not cost it the connection.
pub fn read_first(bytes: &[u8], count: usize) -> Result<Vec<Value>, RtmpError> {
    let mut reader = Reader { bytes, values_left: VALUES_MAX };
    let mut values = Vec::new();
    while !reader.bytes.is_empty() && values.len() < count {
        values.push(reader.value(0)?);
    }
    Ok(values)
}

pub fn write_all(values: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for value in values {
        write(value, &mut out);
    }
    out
}

struct Reader<'a> {
    bytes: &'a [u8],
    values_left: usize,
}

impl<'a> Reader<'a> {
    fn value(&mut self, depth: usize) -> Result<Value, RtmpError> {
        self.values_left = self.values_left.checked_sub(1).ok_or(RtmpError::Amf("too many values"))?;
        if depth > DEPTH_MAX {
            return Err(RtmpError::Amf("values nested too deep"));
        }
        Ok(match self.array::<1>()?[0] {
            marker::NUMBER => Value::Number(self.number()?),
            marker::BOOLEAN => Value::Boolean(self.array::<1>()?[0] != 0),
            marker::STRING => Value::Text(self.short_text()?.to_vec()),
            marker::OBJECT => Value::Object(self.properties(depth)?),
            marker::NULL => Value::Null,
            marker::UNDEFINED => Value::Undefined,
            marker::REFERENCE => Value::Reference(u16::from_be_bytes(self.array()?)),
            marker::ECMA_ARRAY => {
                // The count is a hint (AMF0 2.10); encoders write 0. The end marker decides.
                self.array::<4>()?;
                Value::EcmaArray(self.properties(depth)?)
            }
            marker::STRICT_ARRAY => Value::StrictArray(self.strict_array(depth)?),
            marker::DATE => Value::Date { milliseconds: self.number()?, zone: i16::from_be_bytes(self.array()?) },
            marker::LONG_STRING => Value::Text(self.long_text()?.to_vec()),
            marker::UNSUPPORTED => Value::Unsupported,
            marker::XML => Value::Xml(self.long_text()?.to_vec()),
            marker::TYPED_OBJECT => {
                Value::TypedObject { class: self.short_text()?.to_vec(), properties: self.properties(depth)? }
            }
            _ => return Err(RtmpError::Amf("an unknown type marker")),
        })
    }

    fn properties(&mut self, depth: usize) -> Result<Properties, RtmpError> {
        let mut properties = Vec::new();
        loop {
            let name = self.short_text()?;
            if name.is_empty() && self.bytes.first() == Some(&marker::OBJECT_END) {
                self.take(1)?;
                return Ok(properties);
            }
            properties.push((name.to_vec(), self.value(depth + 1)?));
        }
    }

    fn strict_array(&mut self, depth: usize) -> Result<Vec<Value>, RtmpError> {
        let count = u32::from_be_bytes(self.array()?);
        // Nothing is reserved by a count that nobody has paid for in bytes.
        let mut values = Vec::new();
        for _ in 0..count {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    fn number(&mut self) -> Result<f64, RtmpError> {
        Ok(f64::from_be_bytes(self.array()?))
    }

    fn short_text(&mut self) -> Result<&'a [u8], RtmpError> {
        let len = u16::from_be_bytes(self.array()?);
        self.take(len.into())
    }

    fn long_text(&mut self) -> Result<&'a [u8], RtmpError> {
        let len = u32::from_be_bytes(self.array()?);
        self.take(usize::try_from(len).map_err(|_| RtmpError::Amf("a text too long"))?)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RtmpError> {
        let (head, rest) = self.bytes.split_first_chunk::<N>().ok_or(RtmpError::Amf("a value cut short"))?;
        self.bytes = rest;
        Ok(*head)
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], RtmpError> {
        let (head, rest) = self.bytes.split_at_checked(len).ok_or(RtmpError::Amf("a value cut short"))?;
        self.bytes = rest;
        Ok(head)
    }
}

fn write(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Number(number) => {
            out.push(marker::NUMBER);
            out.extend(number.to_be_bytes());
        }
        Value::Boolean(truth) => out.extend([marker::BOOLEAN, u8::from(*truth)]),
        Value::Text(text) if text.len() <= usize::from(u16::MAX) => {
            out.push(marker::STRING);
            write_short(text, out);
        }
        Value::Text(text) => {
            out.push(marker::LONG_STRING);
            write_long(text, out);
        }
        Value::Object(properties) => {
            out.push(marker::OBJECT);
            write_properties(properties, out);
        }
        Value::Null => out.push(marker::NULL),
        Value::Undefined => out.push(marker::UNDEFINED),
        Value::Reference(index) => {
            out.push(marker::REFERENCE);
            out.extend(index.to_be_bytes());
        }
        Value::EcmaArray(properties) => {
            out.push(marker::ECMA_ARRAY);
            out.extend(count(properties.len()));
            write_properties(properties, out);
        }
        Value::StrictArray(values) => {
            out.push(marker::STRICT_ARRAY);
            out.extend(count(values.len()));
            values.iter().for_each(|value| write(value, out));
        }
        Value::Date { milliseconds, zone } => {
            out.push(marker::DATE);
            out.extend(milliseconds.to_be_bytes());
            out.extend(zone.to_be_bytes());
        }
        Value::Unsupported => out.push(marker::UNSUPPORTED),
        Value::Xml(text) => {
            out.push(marker::XML);
            write_long(text, out);
        }
        Value::TypedObject { class, properties } => {
            out.push(marker::TYPED_OBJECT);
            write_short(class, out);
            write_properties(properties, out);
        }
    }
}

fn write_properties(properties: &Properties, out: &mut Vec<u8>) {
    for (name, value) in properties {
        write_short(name, out);
        write(value, out);
    }
    out.extend([0, 0, marker::OBJECT_END]);
}

/// Names and classes come from a reader or from this program, so they fit; one that did not would be cut, not wrap.
fn write_short(text: &[u8], out: &mut Vec<u8>) {
    let len = u16::try_from(text.len()).unwrap_or(u16::MAX);
    out.extend(len.to_be_bytes());
    out.extend(text.iter().take(len.into()));
}

fn write_long(text: &[u8], out: &mut Vec<u8>) {
    out.extend(count(text.len()));
    out.extend(text);
}

/// A message is at most 16 MiB, so a count in it fits.
fn count(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}
