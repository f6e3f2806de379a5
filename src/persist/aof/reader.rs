//! Reading the log back: every frame from a position on, up to the end, which is found by rule.
//!
//! A frame that does not check at position `p` ends the log if nothing valid behind it names a
//! durable position above `p`: then the frame was never promised (the system writes pages back in
//! any order), and what is behind it is *cut*, which means left where it is and never read again.
//! Otherwise bytes that were promised are damaged, and the log refuses to open: nothing is skipped.
//! Only bytes behind `p` can name a position above it, so one pass decides.
//!
//! A segment without a whole header has no frame that can be checked, and ends the log where it
//! begins. Its frames still prove what they name: two of them that verify with one seed are
//! frames of one file. A segment whose header never reached the disk was never synced, so its
//! frames name nothing behind its start.
//!
//! A segment ends where the next one starts. What it holds beyond was cut earlier. If the next one
//! starts a [`GAP`] later, only the snapshot that stands there leads to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::{
    FRAME_HEADER_MAX, FoundHeader, FrameHeader, SEGMENT_HEADER_BYTES, SegmentHeader, low_bytes,
};
use super::{GAP, Recovered};
use crate::error::StorageError;
use crate::persist::disk::{Access, DiskFile};
use crate::persist::{Directory, Position};

/// How much is read at once; any value works.
const WINDOW_BYTES: usize = 1 << 20;

/// What the caller does with a frame: the position after it, and its payload.
pub type Visit<'a> = dyn FnMut(Position, &[u8]) -> Result<(), StorageError> + 'a;

/// Where and why the log ended before its bytes did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The end of the log: the position of the first frame that is not whole.
    pub at: Position,
    /// The file in which that is.
    pub path: PathBuf,
    /// The byte of the file from which on nothing is used.
    pub offset: u64,
    /// The last byte of the file that is not zero, plus one: what is kept there.
    pub kept_until: u64,
    /// Whole segments behind it, under the names they were given.
    pub aside: Vec<PathBuf>,
}

/// What a walk over the segments found.
#[derive(Debug)]
pub(super) struct Walk {
    /// The end of the log.
    pub(super) end: u64,
    /// Frames with a payload.
    pub(super) frames: u64,
    /// Bytes of frames, marks included.
    pub(super) bytes: u64,
    /// The cut, if there was one; `aside` is still empty.
    pub(super) cut: Option<Cut>,
    /// Starts of the segments that are behind the cut as a whole.
    pub(super) behind: Vec<Position>,
}

/// Visits every frame behind `from` as [`Aof::open`](super::Aof::open) does, and changes nothing.
/// If `over_gaps`, it goes on behind a snapshot to which the log does not lead.
///
/// # Errors
/// As [`Aof::open`](super::Aof::open).
pub fn inspect(
    directory: &Directory,
    from: Position,
    over_gaps: bool,
    visit: &mut Visit<'_>,
) -> Result<Recovered, StorageError> {
    let Walk { end, frames, bytes, cut, .. } =
        walk(directory, &directory.segments()?, from, over_gaps, visit)?;
    Ok(Recovered { end: Position(end), frames, bytes, cut })
}

/// Visits each whole frame at or behind `from`, wherever it stands: what no log leads to any more,
/// for what it tells of that.
///
/// # Errors
/// [`StorageError`] if a file cannot be read, or from `visit`.
pub fn inspect_scattered(
    directory: &Directory,
    from: Position,
    visit: &mut Visit<'_>,
) -> Result<(), StorageError> {
    let segments = directory.segments()?;
    let first = segments.iter().rposition(|&start| start <= from).unwrap_or_default();
    for &start in segments.iter().skip(first) {
        let mut segment = Segment::open(directory, start, false)?;
        let content_end = segment.content_end()?;
        segment.find_header(content_end)?;
        segment.scan(
            start.0.max(from.0),
            content_end,
            &mut |frame| match frame.payload.is_empty() {
                true => Ok(()),
                false => visit(Position(frame.end), frame.payload),
            },
        )?;
    }
    Ok(())
}

/// Visits each frame with a payload from `from` on. `segments` ascends. A gap is an error unless
/// `over_gaps`.
pub(super) fn walk(
    directory: &Directory,
    segments: &[Position],
    from: Position,
    over_gaps: bool,
    visit: &mut Visit<'_>,
) -> Result<Walk, StorageError> {
    let mut walk = Walk { end: from.0, frames: 0, bytes: 0, cut: None, behind: Vec::new() };
    let Some(first) = segments.iter().rposition(|&start| start <= from) else {
        return match segments.first() {
            None => Ok(walk),
            Some(&start) => Err(StorageError::Damaged {
                path: directory.segment_path(start),
                offset: 0,
                reason: format!("the log before it, from position {from} on, is missing"),
            }),
        };
    };
    for (i, &start) in segments.iter().enumerate().skip(first) {
        let later = &segments[i + 1..];
        let mut segment = Segment::open(directory, start, later.len() < 2)?;
        let limit = later.first().map_or(u64::MAX, |next| next.0);
        walk_segment(&mut segment, limit, &mut walk, visit)?;
        if walk.end == limit {
            segment.refuse_frame_at(limit)?;
            continue;
        }
        if !later.is_empty() && limit - walk.end == GAP {
            if over_gaps {
                walk.end = limit;
                continue;
            }
            let path = directory.segment_path(Position(limit));
            let reason = format!(
                "only the snapshot at {limit} leads to it, the log before it ends at {}",
                walk.end
            );
            return Err(StorageError::Damaged { path, offset: 0, reason });
        }
        let content_end = segment.judge(walk.end, directory, later)?;
        if content_end > segment.offset(walk.end) || !later.is_empty() {
            walk.cut = Some(Cut {
                at: Position(walk.end),
                path: segment.path.clone(),
                offset: segment.offset(walk.end),
                kept_until: content_end,
                aside: Vec::new(),
            });
            walk.behind = later.to_vec();
            if walk.end == start.0 && content_end > SEGMENT_HEADER_BYTES {
                walk.behind.insert(0, start);
            }
        }
        break;
    }
    Ok(walk)
}

/// Advances `walk.end` over the valid frames of a segment, at most to `limit`.
fn walk_segment(
    segment: &mut Segment,
    limit: u64,
    walk: &mut Walk,
    visit: &mut Visit<'_>,
) -> Result<(), StorageError> {
    while walk.end < limit {
        let Some(frame) = segment.frame(walk.end)? else { break };
        if frame.end > limit {
            break;
        }
        if !frame.payload.is_empty() {
            visit(Position(frame.end), frame.payload)?;
            walk.frames += 1;
        }
        walk.bytes += frame.end - walk.end;
        walk.end = frame.end;
    }
    Ok(())
}

/// A valid frame.
struct Frame<'a> {
    payload: &'a [u8],
    /// The position after it.
    end: u64,
    /// The durable position that it names.
    durable: u64,
}

/// A segment being read, through a window on its bytes.
struct Segment {
    path: PathBuf,
    start: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    /// `None` if the header is bad: then no frame can be checked, until `find_seed`.
    header: Option<SegmentHeader>,
    window: Vec<u8>,
    window_at: u64,
}

impl Segment {
    /// Opens a segment and makes durable what it holds. `cold`: read it from the disk and not
    /// from memory, since a sync of it may have failed and left in memory what the disk lacks.
    fn open(directory: &Directory, start: Position, cold: bool) -> Result<Self, StorageError> {
        let path = directory.segment_path(start);
        let file = directory.open_file(&path, Access::Read)?;
        file.sync().map_err(|e| StorageError::io(&path, "fdatasync", &e))?;
        if cold {
            file.drop_cache();
        }
        let len = file.len().map_err(|e| StorageError::io(&path, "stat", &e))?;
        let (window, window_at) = (Vec::new(), 0);
        let mut segment =
            Segment { path, start: start.0, file, len, header: None, window, window_at };
        let bytes = segment.bytes(0, SEGMENT_HEADER_BYTES.try_into().unwrap_or(usize::MAX))?;
        segment.header = match SegmentHeader::decode(bytes) {
            FoundHeader::Good(header) if header.start == start.0 => Some(header),
            FoundHeader::Good(header) => {
                let reason = format!("its header says that it starts at {}", header.start);
                return Err(StorageError::Damaged { path: segment.path, offset: 24, reason });
            }
            FoundHeader::Version(version) => {
                let path = segment.path;
                return Err(StorageError::Version { path, found: version.to_string() });
            }
            FoundHeader::Bad => None,
        };
        Ok(segment)
    }

    /// The byte of the file at which the frame at `position` stands.
    fn offset(&self, position: u64) -> u64 {
        (position - self.start).saturating_add(SEGMENT_HEADER_BYTES)
    }

    /// `len` bytes at `offset`; fewer at the end of the file.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8], StorageError> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = len.min(left);
        let begin = offset.checked_sub(self.window_at).and_then(|at| usize::try_from(at).ok());
        let begin = match begin {
            Some(begin) if begin.checked_add(len).is_some_and(|end| end <= self.window.len()) => {
                begin
            }
            _ => {
                self.window.resize(len.max(WINDOW_BYTES.min(left)), 0);
                let read = self.file.read_at(&mut self.window, offset);
                let read = read.map_err(|e| StorageError::io(&self.path, "read", &e))?;
                self.window.truncate(read);
                self.window_at = offset;
                0
            }
        };
        let end = self.window.len().min(begin + len);
        Ok(&self.window[begin..end])
    }

    /// The frame at `position`, if one is there and whole.
    fn frame(&mut self, position: u64) -> Result<Option<Frame<'_>>, StorageError> {
        let Some(SegmentHeader { seed, .. }) = self.header else { return Ok(None) };
        let Some((header, frame)) = self.candidate(position)? else { return Ok(None) };
        if !header.verify(frame, seed, position) {
            return Ok(None);
        }
        let payload = &frame[header.header_bytes..];
        let end = position + frame.len() as u64;
        Ok(Some(Frame { payload, end, durable: header.durable }))
    }

    /// What may be a frame at `position`, by its length; no checksum is compared.
    fn candidate(&mut self, position: u64) -> Result<Option<(FrameHeader, &[u8])>, StorageError> {
        let offset = self.offset(position);
        let Some(header) = FrameHeader::decode(self.bytes(offset, FRAME_HEADER_MAX)?, position)
        else {
            return Ok(None);
        };
        let Some(len) = header.frame_bytes() else { return Ok(None) };
        if position.checked_add(len as u64).is_none() {
            return Ok(None);
        }
        // A length from damaged bytes must not allocate more than the file has.
        if len as u64 > self.len.saturating_sub(offset) {
            return Ok(None);
        }
        let frame = self.bytes(offset, len)?;
        Ok((frame.len() == len).then_some((header, frame)))
    }

    /// Decides on the bad frame at `position`, with which the walk ended: an error if it was
    /// promised. Otherwise the end of what is not zero in this file.
    fn judge(
        &mut self,
        position: u64,
        directory: &Directory,
        later: &[Position],
    ) -> Result<u64, StorageError> {
        let content_end = self.content_end()?;
        let mut durable = self.greatest_durable(position, content_end)?;
        for &start in later {
            let mut segment = Segment::open(directory, start, false)?;
            let content_end = segment.content_end()?;
            durable = durable.max(segment.greatest_durable(start.0, content_end)?);
        }
        if durable > position {
            let reason = format!(
                "the frame at position {position} is not what was written, \
                 and was durable (position {durable} is)"
            );
            let offset = self.offset(position).min(self.len);
            return Err(StorageError::Damaged { path: self.path.clone(), offset, reason });
        }
        Ok(content_end)
    }

    /// The end of what is not zero in the file.
    fn content_end(&mut self) -> Result<u64, StorageError> {
        let mut end = self.len;
        while end > 0 {
            let begin = end.saturating_sub(WINDOW_BYTES as u64);
            let len = usize::try_from(end - begin).unwrap_or(WINDOW_BYTES);
            let bytes = self.bytes(begin, len)?;
            if let Some(last) = bytes.iter().rposition(|&byte| byte != 0) {
                return Ok(begin + last as u64 + 1);
            }
            end = begin;
        }
        Ok(0)
    }

    /// The greatest durable position that the header names, or a valid frame at or behind
    /// `position`, wherever it stands.
    fn greatest_durable(&mut self, position: u64, content_end: u64) -> Result<u64, StorageError> {
        self.find_header(content_end)?;
        let mut durable = self.header.as_ref().map_or(0, |header| header.durable);
        self.scan(position, content_end, &mut |frame| {
            durable = durable.max(frame.durable);
            Ok(())
        })?;
        Ok(durable)
    }

    /// Makes up for a header that is bad, as far as frames can be checked then.
    fn find_header(&mut self, content_end: u64) -> Result<(), StorageError> {
        if self.header.is_none() {
            let seed = self.find_seed(content_end)?;
            self.header = seed.map(|seed| SegmentHeader { seed, start: self.start, durable: 0 });
        }
        Ok(())
    }

    /// Looks at each valid frame at or behind `position`, wherever it stands.
    fn scan(
        &mut self,
        mut position: u64,
        content_end: u64,
        each: &mut dyn FnMut(&Frame<'_>) -> Result<(), StorageError>,
    ) -> Result<(), StorageError> {
        while self.header.is_some() && self.offset(position) < content_end {
            if let Some(frame) = self.frame(position)? {
                each(&frame)?;
                position = frame.end;
                continue;
            }
            let Some(next) = self.skip(position)? else { break };
            position = next;
        }
        Ok(())
    }

    /// The seed that two frames, one after the other, have in common.
    fn find_seed(&mut self, content_end: u64) -> Result<Option<u64>, StorageError> {
        let (mut position, mut before) = (self.start, None);
        while self.offset(position) < content_end {
            if let Some((header, frame)) = self.candidate(position)? {
                let seed = header.seed(frame, position);
                if seed.is_some() && seed == before {
                    return Ok(seed);
                }
                before = seed;
            }
            let Some(next) = self.skip(position)? else { break };
            position = next;
        }
        Ok(None)
    }

    /// The next position behind `position` at which it is worth looking for a frame.
    fn skip(&mut self, position: u64) -> Result<Option<u64>, StorageError> {
        let position = position + 1;
        let bytes = self.ahead(self.offset(position))?;
        Ok(match first_candidate(bytes, position) {
            Some(skip) => Some(position + skip as u64),
            // A frame may begin in the last bytes, with its position behind them.
            None if bytes.len() > FRAME_HEADER_MAX => {
                Some(position + (bytes.len() - FRAME_HEADER_MAX) as u64)
            }
            None => None,
        })
    }

    /// What the window has from `offset` on: more than a frame's header unless the file ends.
    fn ahead(&mut self, offset: u64) -> Result<&[u8], StorageError> {
        let window_end = self.window_at + self.window.len() as u64;
        let len = match window_end.checked_sub(offset).map(usize::try_from) {
            Some(Ok(len)) if offset >= self.window_at && len > FRAME_HEADER_MAX => len,
            _ => WINDOW_BYTES,
        };
        self.bytes(offset, len)
    }

    /// Refuses a log whose next segment starts at `limit` although this one goes on there: then
    /// one of the files is not of this log.
    fn refuse_frame_at(&mut self, limit: u64) -> Result<(), StorageError> {
        if limit == u64::MAX || self.frame(limit)?.is_none() {
            return Ok(());
        }
        let reason = format!("position {limit} is here and in the segment that starts there");
        let offset = self.offset(limit);
        Err(StorageError::Damaged { path: self.path.clone(), offset, reason })
    }
}

/// The first place in `bytes`, which begin at `position`, where a frame's own position stands.
fn first_candidate(bytes: &[u8], position: u64) -> Option<usize> {
    let places = bytes.windows(4).skip(8);
    places.zip(position..).position(|(found, at)| found == low_bytes(at))
}

/// Frees the space that was kept ahead in a finished segment of `end - start` bytes of frames.
pub(super) fn trim(
    file: &dyn DiskFile,
    path: &Path,
    start: u64,
    end: u64,
) -> Result<(), StorageError> {
    let keep = SEGMENT_HEADER_BYTES + (end - start);
    let len = file.len().map_err(|e| StorageError::io(path, "stat", &e))?;
    if len > keep {
        file.set_len(keep).map_err(|e| StorageError::io(path, "truncate", &e))?;
    }
    Ok(())
}
