//! Origins with leases, and which stream is on which of them: the desired state. Pure; time is an argument.
