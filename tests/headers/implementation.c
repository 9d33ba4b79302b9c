/* The one file of a program that holds the implementation. Linked with use.c and with use.cpp. */
#define OTP_IMPLEMENTATION
#include "otp.h"
#include "otp_server.h"
#include "otp_supervisor.h"
