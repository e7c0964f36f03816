//! Origins with leases, and which stream is on which of them: the desired state. Pure; time is an argument.

mod admission;
mod attempts;
mod endpoint;
mod health;
mod origin;
mod origins;
mod probes;
mod registration;
mod shared;
mod slots;
mod streams;
#[cfg(test)]
mod tests;
mod whose;

pub use admission::{Admission, Refusal};
pub use endpoint::{Endpoint, EndpointError, Endpoints, KINDS, TooManyEndpoints, Transport, kind_label};
pub use health::{
    ConnectFailure, Health, Judged, ProbeFailure, ProbeMode, ProbeResult, ProbeSettings, ProbeSpec, StatusRange, Why,
};
pub use origin::{Draining, Origin, OriginStatus, Source};
pub use origins::{DEFAULT_ORIGIN_ID, RegisterError, RegisterKind, Registered, Registry};
pub use probes::{Care, Probing};
pub use registration::{
    Capacity, Incarnation, LEASE_MAX, Lease, Name, NameError, OriginRole, OriginSpec, SrsRegistration, WEIGHT_DEFAULT,
    WEIGHTS,
};
pub use shared::{Applied, SharedOrigin};
pub use slots::{DesiredOrigin, ORIGINS_MAX};
pub use streams::{
    AlsoOn, BARRED, Backup, CARRIERS_MAX, CLAIMS_PER_ORIGIN_MAX, ClaimError, Claimed, Elsewhere, FlowTicket, LINGER,
    Mapping, Publisher, PublisherElsewhere, Reset, SILENT, SILENT_SAME, STREAMS_MAX, Serving, Stream, StreamChange,
    Streams, StreamsFull, Unfed, VIEWER_LEASE,
};
pub use whose::{Caller, NotWhose};
