//! Every example, run to its end: each checks what it shows.
#![cfg(all(feature = "server", feature = "serde"))]

#[path = "../examples/fan_out.rs"]
mod fan_out;
#[path = "../examples/serve.rs"]
mod serve;
#[path = "../examples/shutdown.rs"]
mod shutdown;
#[path = "../examples/threads.rs"]
mod threads;
#[path = "../examples/work_queue.rs"]
mod work_queue;

#[test]
fn a_failing_job_is_tried_again_and_set_aside() {
    work_queue::main().expect("the example runs");
}

#[test]
fn followers_read_and_replay() {
    fan_out::main().expect("the example runs");
}

#[test]
fn threads_share_structs() {
    threads::main().expect("the example runs");
}

#[test]
fn a_client_joins() {
    serve::main().expect("the example runs");
}

#[test]
fn what_is_left_is_there_at_the_next_start() {
    shutdown::main().expect("the example runs");
}
