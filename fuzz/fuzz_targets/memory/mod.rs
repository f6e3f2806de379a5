//! An allocator that counts, so that a target can bound what a decoder takes of the memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts what is allocated, and the most that ever was.
#[derive(Debug, Default)]
pub struct Counting {
    now: AtomicUsize,
    most: AtomicUsize,
}

#[global_allocator]
static COUNTING: Counting = Counting { now: AtomicUsize::new(0), most: AtomicUsize::new(0) };

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = self.now.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        self.most.fetch_max(now, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        self.now.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What `read` returns, which took no more memory at a time than eight bytes for each of `input`
/// and a mebibyte.
///
/// # Panics
/// If it took more.
pub fn bounded<R>(input: usize, read: impl FnOnce() -> R) -> R {
    let before = COUNTING.now.load(Ordering::Relaxed);
    COUNTING.most.store(before, Ordering::Relaxed);
    let result = read();
    let took = COUNTING.most.load(Ordering::Relaxed).saturating_sub(before);
    assert!(took <= 8 * input + (1 << 20), "{took} bytes for {input} of input");
    result
}
