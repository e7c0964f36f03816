//! How a row of the table reads and writes its field of the draft.

use super::Setting;
use crate::config::problem::Fault;
use crate::config::resolve::Draft;
use crate::config::text::Codec;

#[derive(Clone, Copy)]
pub struct Access {
    pub is_list: bool,
    /// Never called with no value: an empty one means the default.
    pub set: fn(&mut Draft, &Setting, &[String]) -> Result<(), Fault>,
    /// Text that `set` reads back; nothing for an unset option or an empty list.
    pub get: fn(&Draft) -> Vec<String>,
}

pub(super) fn single<T>(codec: &Codec<T>, texts: &[String]) -> Result<T, Fault> {
    match texts {
        [text] => (codec.parse)(text),
        _ => Err(Fault::new(format!("{} values where one is meant", texts.len()), "keep one of them")),
    }
}

pub(super) fn bounded<T: PartialOrd>(codec: &Codec<T>, row: &Setting, texts: &[String]) -> Result<T, Fault> {
    let value = single(codec, texts)?;
    let Some((least, greatest)) = row.within else { return Ok(value) };
    match value >= (codec.parse)(least)? && value <= (codec.parse)(greatest)? {
        true => Ok(value),
        false => Err(Fault::new(
            format!("{} is out of range", (codec.show)(&value)),
            format!("keep it between {least} and {greatest}"),
        )),
    }
}

pub(super) fn several<T: PartialEq>(codec: &Codec<T>, texts: &[String]) -> Result<Vec<T>, Fault> {
    let mut values = Vec::with_capacity(texts.len());
    for text in texts {
        let value = (codec.parse)(text)?;
        if values.contains(&value) {
            return Err(Fault::new(format!("{text:?} is named twice"), "name it once"));
        }
        values.push(value);
    }
    Ok(values)
}

pub(super) fn show_all<T>(codec: &Codec<T>, values: &[T]) -> Vec<String> {
    values.iter().map(codec.show).collect()
}

macro_rules! one {
    ($($field:ident).+, $codec:expr) => {
        Access {
            is_list: false,
            set: |d, _, texts| { d.$($field).+ = single(&$codec, texts)?; Ok(()) },
            get: |d| vec![($codec.show)(&d.$($field).+)],
        }
    };
}

/// As `one`, for what has an order: the row's bounds hold.
macro_rules! measured {
    ($($field:ident).+, $codec:expr) => {
        Access {
            is_list: false,
            set: |d, row, texts| { d.$($field).+ = bounded(&$codec, row, texts)?; Ok(()) },
            get: |d| vec![($codec.show)(&d.$($field).+)],
        }
    };
}

macro_rules! optional {
    ($($field:ident).+, $codec:expr) => {
        Access {
            is_list: false,
            set: |d, _, texts| { d.$($field).+ = Some(single(&$codec, texts)?); Ok(()) },
            get: |d| d.$($field).+.iter().map($codec.show).collect(),
        }
    };
}

macro_rules! many {
    ($($field:ident).+, $codec:expr) => {
        Access {
            is_list: true,
            set: |d, _, texts| { d.$($field).+ = several(&$codec, texts)?; Ok(()) },
            get: |d| show_all(&$codec, &d.$($field).+),
        }
    };
}

macro_rules! many_or_unset {
    ($($field:ident).+, $codec:expr) => {
        Access {
            is_list: true,
            set: |d, _, texts| { d.$($field).+ = Some(several(&$codec, texts)?); Ok(()) },
            get: |d| d.$($field).+.as_deref().map(|all| show_all(&$codec, all)).unwrap_or_default(),
        }
    };
}

pub(super) use {many, many_or_unset, measured, one, optional};
