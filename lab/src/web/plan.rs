//! What one synthetic HTTP exchange is to carry. It stands in the name of the stream, so that the origin knows it
//! without any other channel.

use crate::pattern;
use std::fmt;
use std::str::FromStr;

/// How the origin delimits the body of its response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    UntilClose,
    Chunked,
    /// Chunked, and with a trailer that says the length.
    Trailed,
    /// With Content-Length, an ETag, and ranges.
    Length,
}

const SHAPES: [(Shape, &str); 4] =
    [(Shape::UntilClose, "close"), (Shape::Chunked, "chunked"), (Shape::Trailed, "trailed"), (Shape::Length, "length")];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WebPlan {
    pub seed: u64,
    pub bytes: u64,
    pub shape: Shape,
}

impl WebPlan {
    pub fn new(seed: u64, bytes: u64, shape: Shape) -> Self {
        Self { seed, bytes, shape }
    }

    /// `/live/<plan>.<extension>`
    pub fn path(&self, extension: &str) -> String {
        format!("/live/{self}.{extension}")
    }

    /// The plan of a path's last part.
    pub fn of_path(path: &str) -> Option<Self> {
        let name = path.rsplit('/').next()?;
        name.split('.').next()?.parse().ok()
    }
}

impl fmt::Display for WebPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = SHAPES.iter().find(|(shape, _)| *shape == self.shape).map_or("", |(_, name)| name);
        write!(f, "web_{}_{}_{shape}", self.seed, self.bytes)
    }
}

#[derive(Debug)]
pub struct NotAPlan;

impl FromStr for WebPlan {
    type Err = NotAPlan;

    fn from_str(name: &str) -> Result<Self, NotAPlan> {
        let ["web", seed, bytes, shape] = name.split('_').collect::<Vec<_>>()[..] else { return Err(NotAPlan) };
        let number = |word: &str| word.parse::<u64>().map_err(|_| NotAPlan);
        let (shape, _) = SHAPES.iter().find(|(_, name)| *name == shape).ok_or(NotAPlan)?;
        Ok(Self { seed: number(seed)?, bytes: number(bytes)?, shape: *shape })
    }
}

/// Checks a body as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    seed: u64,
    pub received: u64,
    /// Where it first differed from what was sent.
    pub bad_at: Option<u64>,
}

impl Check {
    /// `from` is the position of the first byte that comes.
    pub fn new(seed: u64) -> Self {
        Self { seed, received: 0, bad_at: None }
    }

    pub fn push(&mut self, piece: &[u8]) {
        if self.bad_at.is_none() {
            self.bad_at = pattern::first_difference(piece, self.seed, self.received);
        }
        self.received += piece.len() as u64;
    }

    /// Whether it is what the plan says, to the last byte.
    pub fn is(&self, plan: &WebPlan) -> bool {
        (self.seed, self.received, self.bad_at) == (plan.seed, plan.bytes, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_path() {
        for (shape, _) in SHAPES {
            let plan = WebPlan::new(7, 1 << 40, shape);
            assert_eq!(WebPlan::of_path(&plan.path("flv")), Some(plan));
        }
        assert_eq!(WebPlan::of_path("/live/livestream.flv"), None);
    }

    #[test]
    fn a_body_is_checked_across_pieces() {
        let plan = WebPlan::new(3, 1000, Shape::Chunked);
        let mut body = vec![0u8; 1000];
        pattern::fill(&mut body, 3, 0);
        let mut check = Check::new(3);
        body.chunks(7).for_each(|piece| check.push(piece));
        assert!(check.is(&plan));
        check.push(b"x");
        assert!(!check.is(&plan));
    }
}
