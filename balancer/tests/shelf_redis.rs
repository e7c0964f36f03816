//! The shelf against real Redis servers: alone, with Sentinels, as a Cluster, and everything that goes wrong with them.

mod shelf;
