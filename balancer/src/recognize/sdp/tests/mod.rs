//! What is read out of answers, what becomes of them, and what holds for any text.

mod answers;
mod hostile;
mod properties;

use super::*;

fn advertised() -> Advertised {
    Advertised::new(["203.0.113.5:8000".parse().unwrap(), "[2001:db8::5]:8000".parse().unwrap()]).unwrap()
}

fn one() -> Advertised {
    Advertised::new(["203.0.113.5:8000".parse().unwrap()]).unwrap()
}
