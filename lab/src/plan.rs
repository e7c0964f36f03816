//! What one synthetic connection is to carry. The client puts it into the stream name, so that the origin at the other
//! end knows it without any other channel; the balancer sees just another stream.

use std::fmt;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Publish,
    Play,
}

/// How a connection ends once both ends have everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Each end closes its direction when it has sent all of it.
    Fin,
    ClientReset,
    OriginReset,
}

/// What follows the trigger: bytes as they are, or the same bytes inside RTMP video messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Raw,
    Messages,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    pub role: Role,
    pub seed: u64,
    pub up_bytes: u64,
    pub down_bytes: u64,
    pub ending: Ending,
    pub framing: Framing,
}

impl Plan {
    pub fn new(role: Role, seed: u64, up_bytes: u64, down_bytes: u64) -> Self {
        Self { role, seed, up_bytes, down_bytes, ending: Ending::Fin, framing: Framing::Raw }
    }

    pub fn up_seed(&self) -> u64 {
        self.seed * 2
    }

    pub fn down_seed(&self) -> u64 {
        self.seed * 2 + 1
    }

    pub fn stream_name(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { seed, up_bytes, down_bytes, .. } = self;
        let role = if self.role == Role::Publish { "publish" } else { "play" };
        let ending = match self.ending {
            Ending::Fin => "fin",
            Ending::ClientReset => "creset",
            Ending::OriginReset => "oreset",
        };
        let framing = if self.framing == Framing::Raw { "raw" } else { "messages" };
        write!(f, "lab-{role}-{seed}-{up_bytes}-{down_bytes}-{ending}-{framing}")
    }
}

#[derive(Debug)]
pub struct NotAPlan;

impl FromStr for Plan {
    type Err = NotAPlan;

    fn from_str(name: &str) -> Result<Self, NotAPlan> {
        let words: Vec<_> = name.split('-').collect();
        let ["lab", role, seed, up, down, ending, framing] = words[..] else { return Err(NotAPlan) };
        let number = |word: &str| word.parse::<u64>().map_err(|_| NotAPlan);
        Ok(Self {
            role: match role {
                "publish" => Role::Publish,
                "play" => Role::Play,
                _ => return Err(NotAPlan),
            },
            seed: number(seed)?,
            up_bytes: number(up)?,
            down_bytes: number(down)?,
            ending: match ending {
                "fin" => Ending::Fin,
                "creset" => Ending::ClientReset,
                "oreset" => Ending::OriginReset,
                _ => return Err(NotAPlan),
            },
            framing: match framing {
                "raw" => Framing::Raw,
                "messages" => Framing::Messages,
                _ => return Err(NotAPlan),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_survives_its_stream_name() {
        let mut plan = Plan::new(Role::Play, 7, 8, 1 << 40);
        plan.ending = Ending::OriginReset;
        plan.framing = Framing::Messages;
        assert_eq!(plan.stream_name().parse::<Plan>().unwrap(), plan);
        assert!("livestream".parse::<Plan>().is_err());
    }
}
