/* A program that is a Python: what a C host comes down to. Linked with libpython in every way there is.
 * It declares what it calls, so that it needs no header of the Python it is linked with. */

int Py_BytesMain(int argc, char **argv);

#ifdef WITHOUT_HACL
/* Debian's libpython3.14.a names the hashes of these modules and does not contain them. A module that is
 * found here is not taken from the archive; importing it says why it is not there. */
extern void *PyExc_ImportError;
void PyErr_SetString(void *type, const char *message);

static void *absent(void)
{
    PyErr_SetString(PyExc_ImportError, "the archive that this program is linked with has no hashes");
    return 0;
}

void *PyInit__blake2(void) { return absent(); }
void *PyInit__md5(void) { return absent(); }
void *PyInit__sha1(void) { return absent(); }
void *PyInit__sha2(void) { return absent(); }
void *PyInit__sha3(void) { return absent(); }
#endif

int main(int argc, char **argv)
{
    return Py_BytesMain(argc, argv);
}
