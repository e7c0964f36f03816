//! The pure core without its shell, for the fuzz targets: the sources themselves, so that no runtime, map or socket
//! has to be built with sanitizers. That it builds is a proof that the core is pure.

#[path = "../../balancer/src/flow/mod.rs"]
pub mod flow;
#[path = "../../balancer/src/recognize/mod.rs"]
pub mod recognize;

pub mod http;
pub mod rtmp;
