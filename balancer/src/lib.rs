//! A load balancer for live video that forwards in the kernel: the control plane.
//!
//! Who may know whom, checked by `cargo xtask tidy`: the pure core ([`recognize`], [`registry`], [`placement`],
//! [`flow`]) imports no runtime, socket, map or clock; [`offload`] alone speaks to the kernel's maps; [`slowpath`] asks
//! it; [`api`] changes the registry and nothing else.

pub mod announce;
pub mod api;
pub mod app;
pub mod auth;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod counters;
pub mod flow;
pub mod goodbye;
pub mod identity;
pub mod live;
pub mod offload;
pub mod placement;
pub mod probe;
pub mod proxy;
pub mod readiness;
pub mod recognize;
pub mod reconcile;
pub mod registry;
pub mod rtc;
pub mod slowpath;
pub mod sources;
pub mod store;
pub mod telemetry;
pub mod tls;
