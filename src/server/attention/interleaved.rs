//! The bell in every order of the steps of those who ring it and the one who hears it.

use super::Attention;
use loom::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use loom::thread;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

/// What the runtime knows: whether to run the task again.
struct Task(AtomicBool);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

#[test]
fn m01_no_ring_is_lost() {
    loom::model(|| {
        let bell = Arc::new(Attention::default());
        let posted = Arc::new(AtomicU8::new(0));
        let threads = [(); 2].map(|()| {
            let (bell, posted) = (bell.clone(), posted.clone());
            thread::spawn(move || {
                posted.fetch_add(1, Ordering::Relaxed);
                bell.call();
            })
        });
        let task = Arc::new(Task(AtomicBool::new(false)));
        let waker = Waker::from(task.clone());
        let mut context = Context::from_waker(&waker);
        let heard = bell.take();
        if heard {
            assert!(posted.load(Ordering::Relaxed) > 0, "what was posted before is seen");
        }
        let sleeps = !bell.listen(&mut context);
        threads.into_iter().for_each(|thread| thread.join().expect("it does not panic"));
        // Whoever sleeps is run again, and then hears all that was rung since.
        let rung = bell.take();
        assert!(!sleeps || !rung || task.0.load(Ordering::Acquire));
        assert!(heard || rung);
        assert_eq!(posted.load(Ordering::Relaxed), 2);
    });
}
