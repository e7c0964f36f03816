//! Tests of SRT in user space, over the loopback and without a fast path: callers and origins speak by the lab's own
//! encoder.

mod begins;
mod ends;
mod refusals;
mod several;
mod world;

use super::*;
use balancer_lab::srt_lite::packet::{self, CONCLUSION, Handshake as Said, INDUCTION, Kind, REFUSED, WAVE_A_HAND};
use world::{Manners, Origin, World};

const PUBLISH: &str = "#!::r=live/s1,m=publish";
