"""What is looked at in a log folder to find a trace (docs/log-format.md): which segments there are,
what their indexes know of an ID, and where the blocks of an encrypted one begin.

Each question lets go of the interpreter's lock once, for all files that it reads.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_AsUTF8, PyUnicode_FromString
from libc.errno cimport EINTR, errno
from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free, qsort, realloc
from libc.string cimport memcmp, memcpy, memset, strcmp, strlen, strncmp

from iatp._fast.trail cimport COUNT_AT, ENTRY, HEADER, KEY_AT, load32, load64

import os

from iatp._fast.trail import MAGIC

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void* buffer, size_t length, long long offset)
    int close(int fd)

cdef extern from "<sys/stat.h>" nogil:
    ctypedef struct stat_t "struct stat":
        long long st_size
    int fstat(int fd, stat_t* status)

cdef extern from "<fcntl.h>" nogil:
    const int O_RDONLY
    const int O_NOFOLLOW
    const int O_CLOEXEC
    const int O_NONBLOCK
    int openat(int directory, const char* name, int flags)

cdef extern from "siphash.h" nogil:
    # `key` has 16 bytes.
    uint64_t siphash64(
        const unsigned char* key, const unsigned char* data, Py_ssize_t length
    )

cdef extern from "ahead.h" nogil:
    # Has the disk begin to read, and waits for nothing.
    void will_read(int fd, long long at, long long length)
    ssize_t read_cached(int fd, void* buffer, size_t length, long long at)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR
    DIR* fdopendir(int fd)
    int closedir(DIR* folder)
    void rewinddir(DIR* folder)

cdef extern from "names.h" nogil:
    struct timespec:
        pass
    const char* next_name(DIR* folder, int* error)
    timespec changed_at(DIR* folder)
    bint is_unchanged(DIR* folder, timespec since)

cdef enum:
    # So many entries are read at a time, 1.5 KB. Where the hash of an ID leads in a segment of
    # 100,000 records is off by some hundred; from there the place is known to within ten.
    PROBE = 64
    # The disk is told of so many, 12 KB: that place is off by less than half of it, nearly always.
    WINDOW = 512
    SCANNED = 2720
    # Files that are open at once.
    AT_ONCE = 64
    # Where the fraction of a second begins in the time that a name begins with, and its end.
    POINT_AT = 15
    TIME = 23
    # Of a block of an encrypted file: what stands around it, and how long it may be.
    BLOCK_OVERHEAD = 20
    BLOCK_MOST = 1 << 30
    # So much is copied as fast as a block's length is asked for; and so much is read at once.
    SMALL_BLOCK = 1 << 12
    BLOCKS_READ = 1 << 16

cdef enum State:
    # It can't be read, or is no index.
    LOST
    # Its entries are in the order of writing; records may stand behind the last of them.
    WRITTEN
    # They are sorted. How many there must be, an earlier version did not write down.
    SORTED
    # They are sorted, and as many as there must be.
    WHOLE

IS_LOST = LOST
IS_WRITTEN = WRITTEN
IS_SORTED = SORTED
IS_WHOLE = WHOLE
cdef bytes _magic_bytes = MAGIC
cdef const char* _magic = PyBytes_AS_STRING(_magic_bytes)


cdef struct Found:
    # Offsets that a search found.
    uint64_t* offsets
    Py_ssize_t count
    Py_ssize_t capacity


cdef struct Look:
    # One index that is looked at.
    const char* name
    int fd
    State state
    # Whether its header was read; whether what is not in memory is waited for.
    bint known
    bint waits
    uint64_t wanted
    # How many entries it has; what the header says, 0 where it says nothing.
    Py_ssize_t entries
    uint64_t said
    # The offset in its last entry.
    uint64_t last
    # Which of the offsets that were found are its own.
    Py_ssize_t first_found
    Py_ssize_t past_found


cdef enum Outcome:
    DONE = 0
    # It can't be read, or the file is shorter now.
    UNREADABLE = -1
    NO_MEMORY = -2
    # It would have to be waited for.
    NOT_CACHED = -3


cdef Outcome _read(
    Look* look, Py_ssize_t first, Py_ssize_t count, unsigned char* out
) noexcept nogil:
    # Reads entries.
    return _read_at(look, HEADER + first * ENTRY, count * ENTRY, out)


cdef Outcome _read_at(
    Look* look, Py_ssize_t at, Py_ssize_t length, unsigned char* out
) noexcept nogil:
    if look.waits:
        return DONE if _read_bytes(look.fd, at, length, out) == 0 else UNREADABLE
    return DONE if read_cached(look.fd, out, length, at) == length else NOT_CACHED


cdef int _read_bytes(int fd, Py_ssize_t at, Py_ssize_t length, unsigned char* out) noexcept nogil:
    cdef Py_ssize_t done = 0
    cdef ssize_t more
    while done < length:
        more = pread(fd, out + done, length - done, at + done)
        if more > 0:
            done += more
        elif more == 0 or errno != EINTR:
            return -1
    return 0


cdef Outcome _keep(Found* found, const unsigned char* entry) noexcept nogil:
    cdef uint64_t* more
    if found.count == found.capacity:
        more = <uint64_t*>realloc(found.offsets, (2 * found.capacity + 16) * sizeof(uint64_t))
        if more == NULL:
            return NO_MEMORY
        found.offsets = more
        found.capacity = 2 * found.capacity + 16
    found.offsets[found.count] = load64(entry + 8)
    found.count += 1
    return DONE


cdef Outcome _scan(Look* look, Found* found) noexcept nogil:
    cdef unsigned char[SCANNED * ENTRY] block
    cdef Py_ssize_t first = 0
    cdef Py_ssize_t count, at
    cdef Outcome done
    while first < look.entries:
        count = min(SCANNED, look.entries - first)
        done = _read(look, first, count, block)
        if done != DONE:
            return done
        for at in range(count):
            if load64(block + at * ENTRY) == look.wanted:
                if _keep(found, block + at * ENTRY) != DONE:
                    return NO_MEMORY
        first += count
        look.last = load64(block + (count - 1) * ENTRY + 8)
    return DONE


cdef inline Py_ssize_t _around(
    Py_ssize_t place, Py_ssize_t count, Py_ssize_t low, Py_ssize_t high
) noexcept nogil:
    # Where so many entries begin that have this one in their middle.
    return max(low, min(place - count // 2, high - count))


cdef inline Py_ssize_t _place(
    uint64_t wanted, Py_ssize_t low, Py_ssize_t high, uint64_t low_hash, uint64_t high_hash
) noexcept nogil:
    # Where, of these entries, the hash should be: they are evenly spread.
    return low + <Py_ssize_t>(
        <double>(wanted - low_hash) / <double>(high_hash - low_hash) * (high - low)
    )


cdef Outcome _search(Look* look, Found* found) noexcept nogil:
    # The first entry that is not smaller is at `low` to `high`. Hashes are evenly spread, but for
    # an ID that occurs often: from the third step on, every other one halves what is left.
    cdef unsigned char[PROBE * ENTRY] block
    cdef Py_ssize_t low = 0
    cdef Py_ssize_t high = look.entries
    cdef Py_ssize_t first, count, at
    cdef uint64_t wanted = look.wanted
    cdef uint64_t low_hash = 0
    cdef uint64_t high_hash = <uint64_t>-1
    cdef int step = 0
    cdef Outcome done
    while low < high:
        if (step >= 2 and not step & 1) or high_hash <= low_hash:
            at = low + (high - low) // 2
        else:
            at = _place(wanted, low, high, low_hash, high_hash)
        step += 1
        first = _around(at, PROBE, low, high)
        count = min(PROBE, high - first)
        done = _read(look, first, count, block)
        if done != DONE:
            return done
        if load64(block) >= wanted:
            high = first
            # One that is equal has others like it before; where none is, this is the place.
            high_hash = load64(block)
            if first == low:
                break
        elif load64(block + (count - 1) * ENTRY) < wanted:
            low = first + count
            low_hash = load64(block + (count - 1) * ENTRY)
        else:
            at = 1
            while load64(block + at * ENTRY) < wanted:
                at += 1
            # Mostly all that are equal stand here too.
            while at < count and load64(block + at * ENTRY) == wanted:
                if _keep(found, block + at * ENTRY) != DONE:
                    return NO_MEMORY
                at += 1
            if at < count:
                return DONE
            low = high = first + count
    return _run(look, found, low)


cdef Outcome _run(Look* look, Found* found, Py_ssize_t first) noexcept nogil:
    # Keeps those that are equal, from there on.
    cdef unsigned char[WINDOW * ENTRY] block
    cdef Py_ssize_t wide = PROBE
    cdef Py_ssize_t count, at
    cdef Outcome done
    while first < look.entries:
        count = min(wide, look.entries - first)
        done = _read(look, first, count, block)
        if done != DONE:
            return done
        for at in range(count):
            if load64(block + at * ENTRY) != look.wanted:
                return DONE
            if _keep(found, block + at * ENTRY) != DONE:
                return NO_MEMORY
        first += count
        wide = WINDOW
    return DONE


cdef void _close(Look* look) noexcept nogil:
    close(look.fd)
    look.fd = -1


cdef void _open_index(int directory, Look* look) noexcept nogil:
    cdef stat_t status
    look.state = LOST
    look.fd = openat(directory, look.name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
    if look.fd < 0:
        return
    # Before anything is read: its writer may add entries meanwhile.
    if fstat(look.fd, &status) < 0 or status.st_size < HEADER:
        _close(look)
        return
    look.entries = (status.st_size - HEADER) // ENTRY


cdef void _know(Look* look, const unsigned char* trace_id, Py_ssize_t length) noexcept nogil:
    # Reads the header. Closes what is no index.
    cdef unsigned char[HEADER] header
    cdef Outcome done = _read_at(look, 0, HEADER, header)
    if done == NOT_CACHED:
        will_read(look.fd, 0, HEADER)
        return
    if (
        done != DONE or memcmp(header, _magic, 8) != 0
        or load32(header + 8) > 1 or load32(header + 12) != 0
    ):
        _close(look)
        return
    look.known = True
    look.state = SORTED if load32(header + 8) == 1 else WRITTEN
    look.said = load64(header + COUNT_AT)
    look.wanted = siphash64(header + KEY_AT, trace_id, length)


cdef void _will_find(Look* look) noexcept nogil:
    cdef Py_ssize_t first
    if look.state == SORTED:
        first = _place(look.wanted, 0, look.entries, 0, <uint64_t>-1)
        first = _around(first, WINDOW, 0, look.entries)
        will_read(look.fd, HEADER + first * ENTRY, min(WINDOW, look.entries) * ENTRY)


cdef bint _find(Look* look, Found* found) noexcept nogil:
    # Closes it, unless it would have to be waited for; False where there is no memory.
    cdef Outcome done
    look.first_found = look.past_found = found.count
    done = _search(look, found) if look.state == SORTED else _scan(look, found)
    if done != DONE:
        found.count = look.first_found
    if done == NOT_CACHED:
        return True
    look.past_found = found.count
    if done == UNREADABLE:
        look.state = LOST
    elif look.state == SORTED and look.said == <uint64_t>look.entries:
        look.state = WHOLE
    _close(look)
    return done != NO_MEMORY


cdef bint _look(
    int directory, Look* looks, Py_ssize_t count, const unsigned char* trace_id,
    Py_ssize_t length, Found* found,
) noexcept nogil:
    # What is in memory first; the disk is told what is wanted of all others before one of them is
    # waited for. False where there is no memory.
    cdef Look* look
    cdef Py_ssize_t at
    cdef bint done = True
    for at in range(count):
        look = &looks[at]
        _open_index(directory, look)
        if look.fd >= 0:
            _know(look, trace_id, length)
        if look.fd >= 0 and look.known:
            done = done and _find(look, found)
    for at in range(count):
        look = &looks[at]
        look.waits = True
        if look.fd >= 0 and not look.known:
            _know(look, trace_id, length)
        if look.fd >= 0:
            _will_find(look)
    for at in range(count):
        look = &looks[at]
        if look.fd >= 0:
            done = done and _find(look, found)
            # Where there was no memory for another.
            if look.fd >= 0:
                _close(look)
    return done


def look(folder, list names not None, str trace_id not None):
    """Return what these indexes of a folder know of a trace: a tuple for each that says something.

    `(number, state, entries, last, offsets)`: which of the names; one of the states; how many
    entries it has; of one that is WRITTEN, the offset in the last of them; the offsets, in order,
    of the records that may be of this trace, for others can have the same hash. There is none for
    an index that has all records of its segment and none of this trace.

    Of a sorted index a header and 3 KB or little more is read, however long it is; of another one
    all. The interpreter's lock is let go once, for all of them.

    Raises:
        OSError: the folder can't be opened.
    """
    cdef bytes wanted = trace_id.encode()
    cdef const unsigned char* id_bytes = <const unsigned char*>PyBytes_AS_STRING(wanted)
    cdef Py_ssize_t length = PyBytes_GET_SIZE(wanted)
    # While the lock is let go the caller's list may change.
    cdef list kept = [*names]
    cdef Py_ssize_t count = len(kept)
    cdef Py_ssize_t at, place
    cdef int directory
    cdef bint done = True
    cdef Found found
    cdef Look* looks = <Look*>calloc(max(count, 1), sizeof(Look))
    if looks == NULL:
        raise MemoryError
    found.offsets = NULL
    found.count = found.capacity = 0
    try:
        for at in range(count):
            looks[at].name = PyUnicode_AsUTF8(kept[at])
        directory = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with nogil:
                at = 0
                while at < count and done:
                    done = _look(
                        directory, looks + at, min(AT_ONCE, count - at), id_bytes, length, &found
                    )
                    at += AT_ONCE
        finally:
            os.close(directory)
        if not done:
            raise MemoryError
        said = []
        for at in range(count):
            if looks[at].state != WHOLE or looks[at].first_found < looks[at].past_found:
                offsets = [
                    found.offsets[place]
                    for place in range(looks[at].first_found, looks[at].past_found)
                ]
                said.append((
                    at, <int>looks[at].state, looks[at].entries, looks[at].last, offsets
                ))
        return said
    finally:
        free(found.offsets)
        free(looks)


cdef struct Names:
    # Names, each with the byte that ends it, and where each begins.
    char* text
    Py_ssize_t size
    Py_ssize_t capacity
    Py_ssize_t count


cdef bint _is_segments(const char* name, Py_ssize_t length) noexcept nogil:
    # Whether it begins with a time, and behind the point that ends its stem is named like records.
    cdef Py_ssize_t at
    for at in range(length):
        if not 0 < name[at] < 127:
            return False
    if length <= TIME or name[POINT_AT] != 46:
        return False
    at = TIME
    while at < length and name[at] != 46:
        at += 1
    return strncmp(name + at, b".jsonl", 6) == 0 or strncmp(name + at, b".open.jsonl", 11) == 0


cdef int _add_name(Names* names, const char* name, Py_ssize_t length) noexcept nogil:
    cdef char* more
    while names.size + length + 1 > names.capacity:
        more = <char*>realloc(names.text, 2 * names.capacity + 4096)
        if more == NULL:
            return -1
        names.text = more
        names.capacity = 2 * names.capacity + 4096
    memcpy(names.text + names.size, name, length + 1)
    names.size += length + 1
    names.count += 1
    return 0


cdef int _list(DIR* folder, Names* names) noexcept nogil:
    # Adds the names; an error of the system, or -1 where there is no memory.
    cdef int error = 0
    cdef Py_ssize_t length
    cdef const char* name = next_name(folder, &error)
    while name != NULL:
        length = strlen(name)
        if _is_segments(name, length) and _add_name(names, name, length) < 0:
            return -1
        name = next_name(folder, &error)
    return error


cdef int _compare_names(const void* a, const void* b) noexcept nogil:
    return strcmp((<const char* const*>a)[0], (<const char* const*>b)[0])


def segment_names(folder):
    """Return the names of a folder's files that hold records, sorted; those of one stem together.

    Others may be among them that look alike. Where the folder was changed lately it is listed
    twice, since a listing can miss a file that is renamed while it runs. The interpreter's lock is
    let go once.

    Raises:
        OSError: the folder can't be read.
    """
    cdef Names names
    cdef Py_ssize_t at
    cdef DIR* opened
    cdef timespec since
    cdef char* name
    cdef const char** sorted_names = NULL
    cdef int error
    cdef int fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    memset(&names, 0, sizeof(names))
    try:
        with nogil:
            opened = fdopendir(fd)
            if opened == NULL:
                error = errno
                close(fd)
            else:
                since = changed_at(opened)
                error = _list(opened, &names)
                if error == 0 and not is_unchanged(opened, since):
                    rewinddir(opened)
                    error = _list(opened, &names)
                closedir(opened)
            if error == 0:
                sorted_names = <const char**>calloc(names.count + 1, sizeof(char*))
                if sorted_names == NULL:
                    error = -1
            if error == 0:
                name = names.text
                for at in range(names.count):
                    sorted_names[at] = name
                    name += strlen(name) + 1
                qsort(sorted_names, names.count, sizeof(char*), _compare_names)
        if error == -1:
            raise MemoryError
        if error:
            raise OSError(error, os.strerror(error), os.fspath(folder))
        return [
            PyUnicode_FromString(sorted_names[at])
            for at in range(names.count)
            if at == 0 or strcmp(sorted_names[at - 1], sorted_names[at]) != 0
        ]
    finally:
        free(sorted_names)
        free(names.text)


cdef struct Blocks:
    # An encrypted file whose blocks are walked through, and what was read of it at once.
    int fd
    long long end
    long long first
    long long past
    unsigned char[BLOCKS_READ] data


cdef int _length_at(
    Blocks* blocks, long long at, long long before, unsigned char* out
) noexcept nogil:
    # Reads the four bytes there; -1 where it can't. Behind a small block (`before` is its length)
    # what follows is read too: a call for each would cost more than its bytes.
    cdef ssize_t more
    if before >= SMALL_BLOCK:
        return _read_bytes(blocks.fd, at, 4, out)
    if at < blocks.first or at + 4 > blocks.past:
        more = -1
        while more < 0:
            more = pread(blocks.fd, blocks.data, min(<long long>BLOCKS_READ, blocks.end - at), at)
            if more < 0 and errno != EINTR:
                return -1
        if more < 4:
            return -1
        blocks.first = at
        blocks.past = at + more
    memcpy(out, blocks.data + (at - blocks.first), 4)
    return 0


def block_lengths(int fd, long long at, long long end):
    """Return the lengths of the blocks of an encrypted file from there to its end, 4 bytes each.

    As they stand in the file: the highest bit is set in the last block of one that is complete,
    behind which nothing is read. A block that is not all there, that claims more than 1 GiB or,
    not being the last, nothing, ends them. The interpreter's lock is let go once.
    """
    cdef Blocks blocks
    cdef unsigned char[4] length
    cdef unsigned char* made = NULL
    cdef unsigned char* more
    cdef Py_ssize_t count = 0
    cdef Py_ssize_t capacity = 0
    cdef long long whole = 0
    cdef int done = 0
    blocks.fd = fd
    blocks.end = end
    blocks.first = blocks.past = 0
    try:
        with nogil:
            while at + BLOCK_OVERHEAD <= end and _length_at(&blocks, at, whole, length) == 0:
                whole = load32(length) & 0x7fffffff
                if whole > BLOCK_MOST or at + whole + BLOCK_OVERHEAD > end:
                    break
                if whole == 0 and not length[3] & 0x80:
                    break
                if count == capacity:
                    capacity = 2 * capacity + 1024
                    more = <unsigned char*>realloc(made, 4 * capacity)
                    if more == NULL:
                        done = -2
                        break
                    made = more
                memcpy(made + 4 * count, length, 4)
                count += 1
                at += whole + BLOCK_OVERHEAD
                if length[3] & 0x80:
                    break
        if done < 0:
            raise MemoryError
        return PyBytes_FromStringAndSize(<char*>made, 4 * count)
    finally:
        free(made)
