//! Tests of the commands that write entries.

use crate::command::testing::world;

#[test]
fn xadd_adds() {
    let mut world = world();
    assert_eq!(world.show("XADD s 1-1 f v"), "1-1");
    assert_eq!(
        world.show("XADD s 1-1 f v"),
        "-ERR The ID specified in XADD is equal or smaller than the target stream top item"
    );
    assert_eq!(world.show("XADD s * f v"), "1000-0");
    world.replayed_equals();
}
