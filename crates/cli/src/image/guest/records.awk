# Numbered records with checksums: what=check reads the file that is given (`ended`: whether its last byte ends a line) and leaves
# how many records and bytes are whole in the file `result`; what=write adds records after `count`.
#
# A record is a line: its number in eight digits, a filler that follows from the number, a checksum of both. So a record can
# be told without the file, and a record at the wrong place, of another number or with a changed character is seen.
# Shell and awk are enough: a record is durable when `dd conv=fsync` has ended well, and only then DURABLE is said.

function checksum(text,    at, sum) {
    sum = 7
    for (at = 1; at <= length(text); at++)
        sum = (sum * 31 + code[substr(text, at, 1)]) % 2147483647
    return sum
}

function record(number,    text) {
    text = sprintf("%08d %08d%08d", number, number * 7919 % 99999989, number * 104729 % 99999971)
    return text " " checksum(text)
}

BEGIN {
    for (at = 32; at < 127; at++)
        code[sprintf("%c", at)] = at
    for (number = count + 1; what == "write"; number++) {
        # What awk prints waits in its buffer, so the shell says it.
        step = "printf '%s\\n' '" record(number) "' | dd of=/data/records oflag=append conv=notrunc,fsync 2>/run/dd"
        if (system(step " && echo DURABLE " number " && sleep 0.05") != 0) {
            system("echo WRITER failed at " number "; cat /run/dd")
            exit 1
        }
    }
}

what == "check" {
    lines = NR
    if (!damaged && $0 != record(NR))
        damaged = NR
    if (!damaged) {
        whole = NR
        bytes += length($0) + 1
        last = length($0) + 1
    }
}

END {
    if (what == "check") {
        # The last line has no end: whatever it says, it was never finished.
        if (ended == "no") {
            if (whole == lines && lines > 0) {
                whole--
                bytes -= last
            } else if (damaged == lines)
                damaged = 0
            if (!damaged)
                print "TORN " whole
        }
        if (damaged)
            print "DAMAGED record " damaged " of " lines
        else {
            print "FOUND " whole + 0
            print whole + 0, bytes + 0 >result
        }
    }
}
