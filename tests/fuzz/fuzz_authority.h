#pragma once
/* The authority of certificates in the corpora. */

/* Its key is gone. */
static const char authority[] = "-----BEGIN CERTIFICATE-----\n"
				"MIIBYjCCARSgAwIBAgIIEwQRrvGR0DswBQYDK2VwMCMxDTALBgNVBAoMBEZ1enox\n"
				"EjAQBgNVBAMMCUZ1enogcm9vdDAeFw0yNjAxMDEwMDAwMDBaFw0zNTEyMzAwMDAw\n"
				"MDBaMCMxDTALBgNVBAoMBEZ1enoxEjAQBgNVBAMMCUZ1enogcm9vdDAqMAUGAytl\n"
				"cAMhAHvldE8sZdySOIpIsNHX4/rfIel/BzqUQwMAsj1EMAkWo2YwZDASBgNVHRMB\n"
				"Af8ECDAGAQH/AgECMA4GA1UdDwEB/wQEAwIBBjAdBgNVHQ4EFgQUVC0DrYQqrFyx\n"
				"kt6e+ApWIjyNJiYwHwYDVR0jBBgwFoAUVC0DrYQqrFyxkt6e+ApWIjyNJiYwBQYD\n"
				"K2VwA0EA9Nxmp/QiJKWmh0AEidI+jOAJPQqIB+TeV33Y5FNesRBys/ilGKGJtlGH\n"
				"egL6kMlZJ0K/aMoYC3BcOA7hHiWvAw==\n"
				"-----END CERTIFICATE-----\n";
