//! Which origin a stream goes to, and why. Pure; time is an argument.

mod choose;
mod hash;
mod load;
mod place;
mod request;
#[cfg(test)]
mod tests;

pub use choose::Candidate;
pub use hash::hash;
pub use load::{Load, Loads, Rate, STREAM_COST, Sampler};
pub use place::{PlaceError, PlaceRequest, Placement, Placer, endpoint, service_of};
pub use request::{LEASED_MAX, RequestPlace, RequestPlaced, lease_stream, meant, place_on, place_request};
