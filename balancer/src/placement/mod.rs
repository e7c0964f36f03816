//! Which origin a stream goes to, and why. Pure; time is an argument.

mod available;
mod choose;
mod hash;
mod load;
mod place;
mod request;
mod second;
mod spread;
#[cfg(test)]
mod tests;

pub use choose::Candidate;
pub use hash::hash;
pub use load::{Load, Loads, Rate, STREAM_COST, Sampler};
pub use place::{PlaceError, PlaceRequest, Placement, Placer, Sharing, endpoint, service_of};
pub use request::{LEASED_MAX, RequestPlace, RequestPlaced, lease_stream, meant, place_on, place_request};
