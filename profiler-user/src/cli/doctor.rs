//! `doctor`: what may be typed.

use super::talk::{TypedTalk, talk};
use crate::talk::Talk;
use clap::Args;
use std::path::PathBuf;

#[derive(Args, Debug)]
pub(super) struct TypedDoctor {
    /// Print the report as JSON
    #[arg(long)]
    json: bool,

    /// Read the types of the running kernel from here, where it has no /sys/kernel/btf/vmlinux
    #[arg(long, value_name = "FILE")]
    btf: Option<PathBuf>,

    #[command(flatten)]
    talk: TypedTalk,
}

#[derive(Clone, PartialEq, Debug)]
pub struct DoctorOptions {
    pub json: bool,
    /// None: the running kernel's own.
    pub btf: Option<PathBuf>,
    pub talk: Talk,
}

pub(super) fn doctor(typed: TypedDoctor) -> DoctorOptions {
    let TypedDoctor { json, btf, talk: typed } = typed;
    DoctorOptions { json, btf, talk: talk(typed) }
}
