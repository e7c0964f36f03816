//! A small data centre out of network namespaces.
