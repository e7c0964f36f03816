//! Everything that touches the bytes of a packet.
