package pgtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// starts hands the start of processes to the one thread whose end is the end of
// this process. Main makes it.
var starts chan func()

// process is a server with its children.
type process struct {
	cmd  *exec.Cmd
	mark string        // what /proc shows as the pipe that only this family holds
	gone chan struct{} // closed when the last of the family has ended
}

// markFD is where a family has its end of the pipe, and besides, at 3, the lock
// of its folder.
const markFD = 4

// launch starts a program in a folder, as the account. When this process dies,
// it gets the signal. The program and all that it forks inherit a pipe that
// shows who belongs to it and when the last one has ended.
func launch(f *folder, log string, onDeath syscall.Signal, program string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer w.Close()
	mark, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
	if err != nil {
		r.Close()
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Dir = f.path
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.ExtraFiles = []*os.File{f.lock, w}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Pdeathsig:  onDeath,
		Setpgid:    true, // an interrupt at the terminal is for this process
		Credential: f.account.credential,
	}
	started := make(chan error)
	starts <- func() { started <- cmd.Start() }
	if err := <-started; err != nil {
		r.Close()
		return nil, err
	}
	p := &process{cmd, mark, make(chan struct{})}
	go func() {
		defer close(p.gone)
		defer r.Close()
		_ = cmd.Wait()                // how it ended is in its log
		_, _ = io.Copy(io.Discard, r) // nobody writes: the end comes with the last holder's
	}()
	return p, nil
}

// ended tells whether the whole family has ended.
func (p *process) ended() bool {
	select {
	case <-p.gone:
		return true
	default:
		return false
	}
}

// stop sends a signal that lets the server end in order and waits; what does
// not end is killed.
func (p *process) stop(sig syscall.Signal) {
	if p.ended() || p.cmd.Process.Signal(sig) == nil && until(context.Background(), func(context.Context) bool { return p.ended() }) {
		return
	}
	p.kill()
}

// kill ends the server and its children at once and waits until they are gone.
// Children live in process groups of their own and belong to init when their
// parent is dead; the pipe still tells them.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	until(context.Background(), func(context.Context) bool {
		for _, pid := range p.family() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		return p.ended()
	})
}

// family returns who holds the pipe.
func (p *process) family() []int {
	var pids []int
	links, _ := filepath.Glob("/proc/[0-9]*/fd/" + strconv.Itoa(markFD))
	for _, link := range links {
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(link))))
		if err != nil || pid == os.Getpid() {
			continue
		}
		if held, err := os.Readlink(link); err == nil && held == p.mark {
			pids = append(pids, pid)
		}
	}
	return pids
}

// account is whom the servers run as; the zero account is ours.
type account struct {
	credential *syscall.Credential
}

// servants returns the account for the servers, which refuse to run as root.
func servants() (account, error) {
	if os.Geteuid() != 0 {
		return account{}, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return account{}, err
	}
	groups, err := u.GroupIds()
	if err != nil {
		return account{}, err
	}
	var c syscall.Credential
	for i, text := range append([]string{u.Uid, u.Gid}, groups...) {
		id, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			return account{}, err
		}
		switch i {
		case 0:
			c.Uid = uint32(id)
		case 1:
			c.Gid = uint32(id)
		default:
			c.Groups = append(c.Groups, uint32(id))
		}
	}
	return account{&c}, nil
}

// own gives a file to the account.
func (a account) own(path string) error {
	if a.credential == nil {
		return nil
	}
	return os.Chown(path, int(a.credential.Uid), int(a.credential.Gid))
}

// folder holds the files of one cluster. Its lock is held by this process and
// by every server started in it, so that whoever gets the lock knows that
// nobody needs the folder any more.
type folder struct {
	path    string
	lock    *os.File
	account account
}

// pattern names the folders.
const pattern = "bigbrotr-pgtest-*"

// newFolder makes a folder below another one, after removing those that killed
// processes left there.
func newFolder(base string) (*folder, error) {
	sweep(base)
	who, err := servants()
	if err != nil {
		return nil, err
	}
	for range 10 {
		path, err := os.MkdirTemp(base, pattern)
		if err != nil {
			return nil, err
		}
		lock := hold(path)
		if lock == nil {
			continue // taken for a leftover before it was locked
		}
		f := &folder{path, lock, who}
		if err := os.Chmod(path, 0o711); err != nil {
			f.remove()
			return nil, err
		}
		return f, nil
	}
	return nil, errors.New("no folder can be locked")
}

// hold returns the lock of a folder that is there and free, else nil.
func hold(path string) *os.File {
	lock, err := os.Open(path)
	if err != nil {
		return nil
	}
	locked := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	mine, err1 := lock.Stat()
	there, err2 := os.Stat(path)
	if locked != nil || err1 != nil || err2 != nil || !os.SameFile(mine, there) {
		lock.Close()
		return nil
	}
	return lock
}

// sweep removes folders that nobody holds. What cannot be removed belongs to
// another user, who will do it.
func sweep(base string) {
	paths, _ := filepath.Glob(filepath.Join(base, pattern))
	for _, path := range paths {
		if lock := hold(path); lock != nil {
			_ = os.RemoveAll(path)
			lock.Close()
		}
	}
}

func (f *folder) remove() {
	_ = os.RemoveAll(f.path) // else the next run does it
	f.lock.Close()
}

// write writes a file that only the servers read.
func (f *folder) write(path, text string) error {
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		return err
	}
	return f.account.own(path)
}

// mkdir makes a folder that is the servers' own.
func (f *folder) mkdir(path string) error {
	if err := os.Mkdir(path, 0o700); err != nil {
		return err
	}
	return f.account.own(path)
}

// freePort returns a port of 127.0.0.1 on which nobody listens. It is below
// those that systems give to outgoing connections (32768 and up on Linux):
// nothing takes it while its server is down between Kill and Restart, and a
// client that calls then does not by chance reach itself.
func freePort() (int, error) {
	for range 100 {
		port := 10000 + rand.N(22000)
		l, err := net.Listen("tcp4", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			return port, l.Close()
		}
	}
	return 0, errors.New("no free port found")
}
