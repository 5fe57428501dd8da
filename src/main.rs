//! The flowgate command.

/// Counts allocations, for `flowgate bench`.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

fn main() -> std::process::ExitCode {
    flowgate::cli::main()
}
