//! A small data centre out of network namespaces: hosts, links, loss, real and synthetic RTMP endpoints, and the
//! `balancer` binary driven from outside, as an operator would. It knows the balancer's command line and JSON, never
//! its code.

pub mod auth_hook;
pub mod balancer;
pub mod bird;
pub mod browser;
pub mod certificates;
pub mod cleanup;
pub mod client;
pub mod clock;
pub mod curl;
pub mod data_centre;
pub mod delay;
mod example;
pub mod ffmpeg;
pub mod flood;
pub mod host;
pub mod hosts;
pub mod http;
pub mod keepalived;
pub mod live_transmit;
pub mod load;
pub mod loss;
pub mod net;
pub mod origin;
pub mod pass_all;
pub mod pattern;
pub mod plan;
pub mod process;
pub mod proxy_header;
pub mod pump;
pub mod redis;
pub mod requirements;
pub mod rtc;
pub mod rtmp_lite;
pub mod rtsp_lite;
pub mod scene;
pub mod srt_lite;
pub mod synthetic;
mod sys;
pub mod transfer;
pub mod ts;
pub mod wait;
pub mod web;
