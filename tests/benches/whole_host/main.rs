//! What changes the whole host: how fast it lets anybody sample, which CPUs it has, what time it is. It runs after everything
//! else, alone. How the host is put right when one of these is killed is part of it.

mod clock;
mod exact;
mod hotplug;
mod throttle;
